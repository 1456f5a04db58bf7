use burnbag::clock::{Clock as _, ManualClock};
use burnbag::transfer::access::{AccessChange, Account, Role, TokenRecord};
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
    let member = Account::create(team(1), other, "bob", Role::Member, &system(START));
    store.commit_access(member).await.unwrap();
    let names: Vec<String> =
        store.accounts().await.unwrap().into_iter().map(|account| account.name).collect();
    assert_eq!(names, ["admin", "bob"]);
    clock.advance(secs(5));
    let reset = login.account.reset(token(2), vec![login.token], &system(clock.now()));
    store.commit_access(reset).await.unwrap();
    let tokens = store.tokens(owner()).await.unwrap();
    assert_eq!(tokens.iter().map(|token| token.stands(clock.now())).collect::<Vec<_>>(), [false, true]);
    let old = store.login([1; 32]).await.unwrap().unwrap();
    assert_eq!(old.token.revoked, Some(clock.now()), "it is known, and known to be revoked");
    assert!(store.tokens(other).await.unwrap().is_empty());
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
        account = account.account().clone().add_token(token(n), &system(START));
    }
    store.commit_access(account.clone()).await.unwrap();
    let account = account.account().clone();
    let revoke = |n| account.clone().revoke_token(token(n), &system(START));
    store.commit_access(revoke(1)).await.unwrap();
    assert!(is_conflict(&store.commit_access(revoke(2)).await), "it must not pass for applied");
    assert!(store.login([2; 32]).await.unwrap().unwrap().token.revoked.is_none());
    let account = store.account("admin").await.unwrap().unwrap();
    store.commit_access(account.revoke_token(token(2), &system(START))).await.unwrap();
    let revoked: Vec<bool> =
        store.tokens(owner()).await.unwrap().iter().map(|token| token.revoked.is_some()).collect();
    assert_eq!(revoked, [true, true, false]);
}

pub async fn a_name_is_taken_once(store: Store, clock: ManualClock) {
    first(&store, &clock).await;
    let same = Account::create(team(1), AccountId::generate(START), "admin", Role::Member, &system(START));
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
    assert_eq!(store.tokens(owner()).await.unwrap()[0].last_used, Some(START.after(secs(9))));
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
    let revoke = |account: Account, token| account.revoke_token(token, &system(START));
    store.commit_access(revoke(account, session(4, 30))).await.unwrap();
    let account = store.account("admin").await.unwrap().unwrap();
    let ended = TokenRecord { expires: Some(START), ..token(6) };
    store.commit_access(account.add_token(ended, &system(START))).await.unwrap();
    let now = START.after(secs(10));
    let all = store.tokens(owner()).await.unwrap();
    let dead: Vec<_> = all.iter().filter_map(|token| DeadSession::of(token, now)).collect();
    assert_eq!(dead.iter().map(DeadSession::id).collect::<Vec<_>>(), [2, 4, 5].map(|n| token(n).id));
    let before = store.outbox_length(0).await.unwrap();
    for _ in 0..2 {
        store.forget_sessions(dead.clone()).await.unwrap();
        let left: Vec<_> = store.tokens(owner()).await.unwrap().iter().map(|token| token.id).collect();
        assert_eq!(left, [1, 3, 6].map(|n| token(n).id));
    }
    for n in [2, 4, 5] {
        assert!(store.login([n; 32]).await.unwrap().is_none());
        store.used(token(n).id, now).await.unwrap();
    }
    assert!(store.login([3; 32]).await.unwrap().is_some());
    assert_eq!(store.outbox_length(0).await.unwrap(), before, "nothing that anybody could do has changed");
}
