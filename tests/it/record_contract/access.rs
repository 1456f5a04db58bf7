use burnbag::clock::{Clock as _, ManualClock};
use burnbag::transfer::access::{
    AccessChange, AccessRefused, Account, AccountChange, FirstAdmin, NewTeam, Role, Team, TokenRecord,
};
use burnbag::transfer::quota::Limits;
use burnbag::transfer::session::DeadSession;
use burnbag::transfer::{AccountId, EventType as E, Sealed, TokenId};

use super::{Store, all_events, is_conflict};
use crate::sample::{START, owner, secs, system, team};

fn token(n: u8) -> TokenRecord {
    TokenRecord {
        id: TokenId::from_bytes([n; 16]),
        account: owner(),
        kind: "usr".to_owned(),
        hash: [n; 32],
        wrapped: Sealed(vec![n; 80]),
        scope: None,
        parent: None,
        created: START,
        expires: None,
        revoked: None,
        last_used: None,
    }
}

/// The account as a change leaves it.
fn after(change: &AccessChange) -> Account {
    change.accounts()[0].record().clone()
}

async fn first(store: &Store, clock: &ManualClock) -> Account {
    let first = AccessChange::first(team(1), owner(), &system(clock.now()));
    store.commit_access(first).await.unwrap();
    store.account("admin").await.unwrap().unwrap()
}

pub async fn a_first_account_and_its_token_let_in(store: Store, clock: ManualClock) {
    assert!(store.accounts().await.unwrap().is_empty());
    let account = first(&store, &clock).await;
    assert!(!account.keyed);
    let context = system(clock.now());
    let change = account.add_token(token(1), &context);
    store.commit_access(change).await.unwrap();
    let login = store.login([1; 32]).await.unwrap().unwrap();
    assert_eq!(login.token, token(1));
    assert!(login.account.keyed && login.account.version == 2);
    assert_eq!((login.team.id, login.team.name.as_str(), login.now), (team(1), "default", clock.now()));
    assert!(store.login([2; 32]).await.unwrap().is_none());
    // Another account of the team, and a token that replaces all.
    let other = AccountId::generate(START);
    let member = Account::create(login.team, other, "bob", Role::Member, &system(START));
    store.commit_access(member).await.unwrap();
    let names: Vec<String> =
        store.accounts().await.unwrap().into_iter().map(|account| account.name).collect();
    assert_eq!(names, ["admin", "bob"]);
    clock.advance(secs(5));
    let reset = login.account.reset(token(2), vec![login.token], &system(clock.now()));
    store.commit_access(reset).await.unwrap();
    let tokens = store.tokens(team(1), owner()).await.unwrap();
    assert_eq!(tokens.iter().map(|token| token.stands(clock.now())).collect::<Vec<_>>(), [false, true]);
    let old = store.login([1; 32]).await.unwrap().unwrap();
    assert_eq!(old.token.revoked, Some(clock.now()), "it is known, and known to be revoked");
    assert!(store.tokens(team(1), other).await.unwrap().is_empty());
    let kinds: Vec<E> = all_events(&store, 1).await.iter().map(|event| event.kind).collect();
    assert_eq!(
        kinds,
        [
            E::TeamCreated,
            E::AccountCreated,
            E::TokenCreated,
            E::AccountCreated,
            E::AccountReset,
            E::TokenCreated,
            E::TokenRevoked,
        ]
    );
}

pub async fn an_account_commit_sent_twice_is_applied_once(store: Store, clock: ManualClock) {
    let change = AccessChange::first(team(1), owner(), &system(clock.now()));
    store.commit_access(change.clone()).await.unwrap();
    store.commit_access(change.clone()).await.unwrap();
    let account = store.account("admin").await.unwrap().unwrap();
    let add = account.add_token(token(1), &system(clock.now()));
    store.commit_access(add.clone()).await.unwrap();
    store.trim(0, 99).await.unwrap();
    store.commit_access(add).await.unwrap();
    store.commit_access(change).await.unwrap();
    assert_eq!(store.account("admin").await.unwrap().unwrap().version, 2);
    assert!(all_events(&store, 4).await.is_empty());
}

pub async fn of_two_revocations_at_once_one_conflicts(store: Store, clock: ManualClock) {
    let account = first(&store, &clock).await;
    let mut account = account.add_token(token(1), &system(START));
    for n in 2..=3 {
        store.commit_access(account.clone()).await.unwrap();
        account = after(&account).add_token(token(n), &system(START));
    }
    store.commit_access(account.clone()).await.unwrap();
    let account = after(&account);
    let tokens = store.tokens(team(1), owner()).await.unwrap();
    let revoke = |n| account.clone().revoke_token(token(n).id, tokens.clone(), &system(START));
    store.commit_access(revoke(1)).await.unwrap();
    assert!(is_conflict(&store.commit_access(revoke(2)).await), "it must not pass for applied");
    assert!(store.login([2; 32]).await.unwrap().unwrap().token.revoked.is_none());
    let account = store.account("admin").await.unwrap().unwrap();
    store.commit_access(account.revoke_token(token(2).id, tokens, &system(START))).await.unwrap();
    let revoked: Vec<bool> =
        store.tokens(team(1), owner()).await.unwrap().iter().map(|token| token.revoked.is_some()).collect();
    assert_eq!(revoked, [true, true, false]);
}

pub async fn a_name_is_taken_once(store: Store, clock: ManualClock) {
    first(&store, &clock).await;
    let of = store.team(team(1)).await.unwrap().unwrap();
    let same = Account::create(of, AccountId::generate(START), "admin", Role::Member, &system(START));
    assert!(is_conflict(&store.commit_access(same).await));
    let again = AccessChange::first(team(2), AccountId::generate(START), &system(START));
    assert!(is_conflict(&store.commit_access(again).await), "two first starts at once make one account");
    assert_eq!(store.accounts().await.unwrap().len(), 1);
    assert_eq!(all_events(&store, 1).await.len(), 2);
}

pub async fn the_last_use_only_moves_on(store: Store, clock: ManualClock) {
    let account = first(&store, &clock).await;
    store.commit_access(account.add_token(token(1), &system(START))).await.unwrap();
    let used = async || store.login([1; 32]).await.unwrap().unwrap().token.last_used;
    assert_eq!(used().await, None);
    for (at, shown) in [(5, 5), (3, 5), (9, 9)] {
        store.used(token(1).id, START.after(secs(at))).await.unwrap();
        assert_eq!(used().await, Some(START.after(secs(shown))));
    }
    store.used(token(7).id, START).await.unwrap();
    assert_eq!(store.tokens(team(1), owner()).await.unwrap()[0].last_used, Some(START.after(secs(9))));
}

/// A second team, with an admin `ann` and her token 9.
async fn second(store: &Store) -> (Team, Account) {
    let new = NewTeam { id: team(2), name: "two".to_owned(), shard: 0, limits: Limits::default() };
    let ann = AccountId::from_bytes([9; 16]);
    let token = TokenRecord { account: ann, ..token(9) };
    let change = Team::create(new, &system(START)).with_first_admin(FirstAdmin {
        id: ann,
        name: "ann".to_owned(),
        token,
    });
    store.commit_access(change).await.unwrap();
    (store.team(team(2)).await.unwrap().unwrap(), store.account("ann").await.unwrap().unwrap())
}

/// A further account of the first team.
async fn further(store: &Store, n: u8, name: &str, role: Role) -> Account {
    let of = store.team(team(1)).await.unwrap().unwrap();
    let id = AccountId::from_bytes([n; 16]);
    store.commit_access(Account::create(of, id, name, role, &system(START))).await.unwrap();
    store.account_of(team(1), id).await.unwrap().unwrap()
}

fn role(role: Role) -> AccountChange {
    AccountChange { role: Some(role), disabled: None }
}

pub async fn nothing_of_an_account_is_told_to_another_team(store: Store, clock: ManualClock) {
    first(&store, &clock).await;
    let (two, ann) = second(&store).await;
    assert!(ann.keyed, "her token is there at once");
    assert_eq!(two.admins, [ann.id]);
    assert_eq!(store.account_of(team(2), ann.id).await.unwrap(), Some(ann.clone()));
    assert_eq!(store.account_of(team(1), ann.id).await.unwrap(), None);
    assert_eq!(store.accounts_of(team(2)).await.unwrap(), std::slice::from_ref(&ann));
    let names = |accounts: Vec<Account>| accounts.into_iter().map(|one| one.name).collect::<Vec<_>>();
    assert_eq!(names(store.accounts_of(team(1)).await.unwrap()), ["admin"]);
    assert_eq!(names(store.accounts().await.unwrap()), ["admin", "ann"]);
    assert_eq!(store.tokens(team(2), ann.id).await.unwrap().len(), 1);
    assert!(store.tokens(team(1), ann.id).await.unwrap().is_empty());
    assert_eq!(store.token_of(team(2), token(9).id).await.unwrap().unwrap().account, ann.id);
    assert_eq!(store.token_of(team(1), token(9).id).await.unwrap(), None);
    let teams: Vec<String> = store.all_teams().await.unwrap().into_iter().map(|team| team.name).collect();
    assert_eq!(teams, ["default", "two"]);
    assert_eq!(store.team(team(3)).await.unwrap(), None);
}

pub async fn of_two_who_take_the_last_admins_away_one_is_refused(store: Store, clock: ManualClock) {
    let one = first(&store, &clock).await;
    let other = further(&store, 8, "bob", Role::Admin).await;
    let of = store.team(team(1)).await.unwrap().unwrap();
    assert_eq!(of.admins, [one.id, other.id]);
    let demote = one.clone().change(of.clone(), role(Role::Member), &system(START)).unwrap();
    let disable = AccountChange { role: None, disabled: Some(true) };
    let disable = other.clone().change(of.clone(), disable, &system(START)).unwrap();
    let remove = other.clone().remove(of, Vec::new(), &system(START)).unwrap();
    store.commit_access(demote).await.unwrap();
    // Each was decided while there were two.
    assert!(is_conflict(&store.commit_access(disable).await));
    assert!(is_conflict(&store.commit_access(remove).await));
    let of = store.team(team(1)).await.unwrap().unwrap();
    assert_eq!(of.admins, [other.id]);
    let other = store.account_of(team(1), other.id).await.unwrap().unwrap();
    assert!(other.acts());
    let last = AccessRefused::LastAdmin("bob".to_owned());
    assert_eq!(other.clone().change(of.clone(), role(Role::Auditor), &system(START)).unwrap_err(), last);
    assert_eq!(other.remove(of, Vec::new(), &system(START)).unwrap_err(), last);
    let changed = all_events(&store, 1).await.iter().filter(|event| event.kind == E::AccountChanged).count();
    assert_eq!(changed, 1, "what conflicted told nothing");
}

pub async fn an_account_is_disabled_enabled_and_removed(store: Store, clock: ManualClock) {
    first(&store, &clock).await;
    let bob = further(&store, 8, "bob", Role::Member).await;
    let bobs = TokenRecord { account: bob.id, ..token(3) };
    store.commit_access(bob.add_token(bobs.clone(), &system(START))).await.unwrap();
    for disabled in [true, false] {
        let bob = store.account("bob").await.unwrap().unwrap();
        let of = store.team(team(1)).await.unwrap().unwrap();
        let what = AccountChange { role: None, disabled: Some(disabled) };
        store.commit_access(bob.change(of, what, &system(clock.now())).unwrap()).await.unwrap();
        let login = store.login(bobs.hash).await.unwrap().unwrap();
        assert_eq!(login.account.acts(), !disabled);
        assert_eq!(login.account.disabled, disabled.then(|| clock.now()));
    }
    let bob = store.account("bob").await.unwrap().unwrap();
    let of = store.team(team(1)).await.unwrap().unwrap();
    let tokens = store.tokens(team(1), bob.id).await.unwrap();
    let remove = bob.clone().remove(of, tokens, &system(clock.now())).unwrap();
    store.commit_access(remove.clone()).await.unwrap();
    store.commit_access(remove).await.unwrap();
    let login = store.login(bobs.hash).await.unwrap().unwrap();
    assert!(!login.account.acts() && login.token.revoked == Some(clock.now()));
    assert_eq!(store.account("bob").await.unwrap(), None);
    assert_eq!(store.account_of(team(1), bob.id).await.unwrap(), None);
    assert_eq!(store.accounts_of(team(1)).await.unwrap().len(), 1);
    // The name is free.
    let again = further(&store, 10, "bob", Role::Member).await;
    assert_ne!(again.id, bob.id);
    let kinds: Vec<E> = all_events(&store, 1).await.iter().map(|event| event.kind).collect();
    let expected =
        [E::AccountChanged, E::AccountChanged, E::AccountRemoved, E::TokenRevoked, E::AccountCreated];
    assert_eq!(kinds[4..], expected);
}

pub async fn a_sessions_parent_takes_it_along(store: Store, clock: ManualClock) {
    let mut account = first(&store, &clock).await;
    let session =
        |n, parent: u8| TokenRecord { kind: "ses".to_owned(), parent: Some(token(parent).id), ..token(n) };
    for new in [token(1), token(2), session(3, 1), session(4, 1), session(5, 2)] {
        let change = account.add_token(new, &system(START));
        store.commit_access(change.clone()).await.unwrap();
        account = after(&change);
    }
    let tokens = store.tokens(team(1), owner()).await.unwrap();
    let change = account.revoke_token(token(1).id, tokens, &system(clock.now()));
    store.commit_access(change).await.unwrap();
    let standing = async || {
        let tokens = store.tokens(team(1), owner()).await.unwrap();
        tokens.iter().map(|token| token.stands(clock.now())).collect::<Vec<_>>()
    };
    assert_eq!(standing().await, [false, true, false, false, true]);
    let revoked = all_events(&store, 1).await.iter().filter(|event| event.kind == E::TokenRevoked).count();
    assert_eq!(revoked, 3);
}

pub async fn a_team_is_changed_and_removed_with_all_that_is_in_it(store: Store, clock: ManualClock) {
    first(&store, &clock).await;
    let (two, ann) = second(&store).await;
    let limits = Limits { bytes: Some(9_007_199_254_740_991), ..Limits::default() };
    let rename = two.clone().change(Some("three".to_owned()), Some(limits), &system(START));
    store.commit_access(rename.clone()).await.unwrap();
    store.commit_access(rename).await.unwrap();
    assert!(is_conflict(&store.commit_access(two.change(None, None, &system(START))).await), "it is older");
    let three = store.team(team(2)).await.unwrap().unwrap();
    assert_eq!((three.name.as_str(), three.limits, three.version), ("three", limits, 2));
    // A name is taken by one alone, and free once it is left.
    let new = |n, name: &str| {
        let new = NewTeam { id: team(n), name: name.to_owned(), shard: 0, limits: Limits::default() };
        Team::create(new, &system(START))
    };
    assert!(is_conflict(&store.commit_access(new(5, "three")).await));
    store.commit_access(new(6, "two")).await.unwrap();
    let taken = three.clone().change(Some("two".to_owned()), None, &system(START));
    assert!(is_conflict(&store.commit_access(taken).await));
    // An account that is made while its team is removed is refused.
    let late =
        Account::create(three.clone(), AccountId::from_bytes([11; 16]), "late", Role::Admin, &system(START));
    let accounts = store.accounts_of(team(2)).await.unwrap();
    let tokens = store.tokens(team(2), ann.id).await.unwrap();
    let remove = three.remove(accounts, tokens, &system(clock.now())).unwrap();
    store.commit_access(remove.clone()).await.unwrap();
    store.commit_access(remove).await.unwrap();
    assert!(is_conflict(&store.commit_access(late).await));
    assert_eq!(store.team(team(2)).await.unwrap(), None);
    assert_eq!(store.account("ann").await.unwrap(), None);
    let login = store.login(token(9).hash).await.unwrap().unwrap();
    assert!(login.team.removed.is_some() && !login.account.acts() && login.token.revoked.is_some());
    store.commit_access(new(7, "three")).await.unwrap();
    let own = store.team(team(1)).await.unwrap().unwrap();
    let refused = own.remove(Vec::new(), Vec::new(), &system(START)).unwrap_err();
    assert_eq!(refused, AccessRefused::OperatorsTeam("default".to_owned()));
}

pub async fn a_team_from_before_versions_is_settled(store: Store, clock: ManualClock) {
    let account = first(&store, &clock).await;
    let of = store.team(team(1)).await.unwrap().unwrap();
    let old = Team { version: 0, operator: false, admins: Vec::new(), ..of };
    // Not what the store holds: it is refused, and leaves the team as it is.
    let settle = old.settle(vec![account.clone()], &system(START));
    assert!(is_conflict(&store.commit_access(settle.clone()).await));
    let settled = settle.team().unwrap().record();
    assert!(settled.operator && settled.version == 1 && settled.admins == [account.id]);
}

pub async fn sessions_that_are_over_are_dropped_and_no_other_token(store: Store, clock: ManualClock) {
    let mut account = first(&store, &clock).await;
    let session = |n, life| TokenRecord {
        kind: "ses".to_owned(),
        parent: Some(token(1).id),
        expires: Some(START.after(secs(life))),
        ..token(n)
    };
    for new in [token(1), session(2, 10), session(3, 20), session(4, 30), session(5, 10)] {
        store.commit_access(account.add_token(new, &system(START))).await.unwrap();
        account = store.account("admin").await.unwrap().unwrap();
    }
    let others = store.tokens(team(1), owner()).await.unwrap();
    store.commit_access(account.revoke_token(token(4).id, others, &system(START))).await.unwrap();
    let account = store.account("admin").await.unwrap().unwrap();
    let ended = TokenRecord { expires: Some(START), ..token(6) };
    store.commit_access(account.add_token(ended, &system(START))).await.unwrap();
    let now = START.after(secs(10));
    let all = store.tokens(team(1), owner()).await.unwrap();
    let dead: Vec<_> = all.iter().filter_map(|token| DeadSession::of(token, now)).collect();
    assert_eq!(dead.iter().map(DeadSession::id).collect::<Vec<_>>(), [2, 4, 5].map(|n| token(n).id));
    let before = store.outbox_length(0).await.unwrap();
    for _ in 0..2 {
        store.forget_sessions(dead.clone()).await.unwrap();
        let left: Vec<_> =
            store.tokens(team(1), owner()).await.unwrap().iter().map(|token| token.id).collect();
        assert_eq!(left, [1, 3, 6].map(|n| token(n).id));
    }
    for n in [2, 4, 5] {
        assert!(store.login([n; 32]).await.unwrap().is_none());
        store.used(token(n).id, now).await.unwrap();
    }
    assert!(store.login([3; 32]).await.unwrap().is_some());
    assert_eq!(store.outbox_length(0).await.unwrap(), before, "nothing that anybody could do has changed");
}
