//! What every record store must do. Each function takes the store and the clock that it was made with; a backend joins
//! by one line of `record_contract!`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use burnbag::clock::ManualClock;
use burnbag::storage::records::sqlite::SqliteRecords;
use burnbag::storage::{RecordStore, StoreError};
use burnbag::transfer::Event;

use crate::sample::{SHARD, START};

mod access;
mod commits;
mod due;
mod leases;
mod links;
mod outbox;
mod quotas;
mod rates;
mod tries;
mod uploads;

pub type Store = Arc<dyn RecordStore>;

/// A fresh store for one test.
pub struct Made {
    pub store: Store,
    pub clock: ManualClock,
    /// What the store needs until the test ends.
    pub _keep: Box<dyn std::any::Any + Send>,
}

pub async fn make_sqlite(_room: &str) -> Made {
    SHARD.set(0);
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(START);
    let store = SqliteRecords::open(&directory.path().join("records.db"), Arc::new(clock.clone())).unwrap();
    Made { store: Arc::new(store), clock, _keep: Box::new(directory) }
}

macro_rules! record_contract {
    ($backend:ident, $make:path: $($room:ident { $($name:ident)+ })+) => {
        mod $backend {$(
            mod $room {$(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let made = $make(stringify!($room)).await;
                    crate::record_contract::$room::$name(made.store.clone(), made.clock.clone()).await;
                }
            )+}
        )+}
    };
    ($backend:ident, $make:path) => {
        record_contract! { $backend, $make:
            commits {
                a_commit_reads_back_whole
                a_commit_on_an_old_version_conflicts
                a_second_first_commit_conflicts
                a_commit_sent_twice_is_applied_once
                in_a_batch_each_is_whole_or_nothing
                another_team_sees_and_changes_nothing
                slots_are_there_until_the_deadline
                an_end_destroys_the_slots
                a_slot_written_after_the_deadline_is_refused
                of_two_ends_at_once_one_is_committed
                a_forgotten_transfer_is_gone
                states_and_live_transfers_tell_where_they_stand
                set_meta_keeps_the_first
            }
            uploads {
                a_touch_moves_the_upload_deadline_on_and_never_back
                an_older_epoch_is_refused_and_its_opener_may_repeat
                a_touch_after_uploading_is_refused
                the_journal_stays_for_the_purge_and_goes_with_available
            }
            leases {
                sent_twice_they_change_nothing
                a_link_tells_when_a_lease_of_it_was_last_taken
                one_download_goes_to_one_of_many
                ten_downloads_go_to_ten_of_many
                an_idle_lease_gives_its_count_back
                a_delivered_download_exhausts_and_is_due
                a_stream_stops_when_the_transfer_ends
                a_tombstone_stays_while_a_lease_is_open
                ends_sent_twice_tell_each_once
                other_times_move_the_end_of_a_lease
                a_removed_file_or_a_range_outside_is_refused
            }
            links {
                a_further_link_has_a_slot_until_it_is_taken_back
                a_link_is_closed_at_its_own_deadline
                a_deadline_moves_with_all_slots_and_its_place
                a_running_stream_is_told_where_the_deadline_is_now
            }
            due {
                a_claim_puts_off_and_comes_back_by_itself
                without_room_for_deletions_only_the_living_are_claimed
                a_batch_is_read_in_its_order_and_only_with_the_right_team
                two_claimers_never_get_the_same_transfer
                a_claim_is_earliest_first_and_bounded
                of_named_ones_those_that_are_due_are_claimed
                a_purge_that_failed_is_tried_again_later
                each_state_has_its_instant
                the_front_shows_claimed_places_too_and_claims_nothing
            }
            quotas {
                what_a_transfer_holds_moves_with_it
                past_a_limit_nothing_is_written
                ends_and_what_shrinks_are_never_refused
                of_many_at_once_as_many_as_fit_are_taken
                sent_twice_it_is_counted_once
                in_a_batch_each_keeps_the_limits_by_itself
                many_ends_in_one_batch_are_counted_once_each
                the_counters_are_set_only_where_nothing_moved
                the_list_is_paged_newest_first_and_has_no_other_teams
            }
            outbox {
                numbers_are_dense_whatever_conflicts_beside
                appended_twice_is_there_once
                numbers_go_on_after_everything_was_trimmed
                rolled_forward_numbers_go_on_after_the_logs
                a_page_of_the_outbox_goes_on_where_the_last_ended
            }
            tries {
                of_many_tries_at_once_the_free_ones_are_taken
                each_further_try_of_a_link_waits_longer_until_it_is_stopped
                an_address_is_forgotten_after_a_while_and_never_stopped
                one_given_back_is_as_if_it_had_not_been
                a_try_sent_twice_is_one
                the_owner_alone_lifts_what_failed_and_it_is_told_once
                what_failed_goes_with_its_link
            }
            access {
                a_first_account_and_its_token_let_in
                an_account_commit_sent_twice_is_applied_once
                of_two_revocations_at_once_one_conflicts
                a_name_is_taken_once
                the_last_use_only_moves_on
                sessions_that_are_over_are_dropped_and_no_other_token
                nothing_of_an_account_is_told_to_another_team
                of_two_who_take_the_last_admins_away_one_is_refused
                an_account_is_disabled_enabled_and_removed
                a_sessions_parent_takes_it_along
                a_team_is_changed_and_removed_with_all_that_is_in_it
                a_team_from_before_versions_is_settled
            }
            rates {
                a_limit_is_the_meters_at_every_step
                of_many_at_once_a_burst_is_granted
                each_token_and_link_has_a_limit_of_its_own
            }
        }
    };
}

record_contract!(sqlite, crate::record_contract::make_sqlite);
record_contract!(redis, crate::redis_clock::make_redis);
record_contract!(redis_cluster, crate::redis_clock::make_cluster);

/// Every event in the outbox; checks that its numbers are dense from `first` and no event is there twice.
pub async fn all_events(store: &Store, first: u64) -> Vec<Event> {
    let entries = store.outbox(0, 0, 100_000).await.unwrap();
    for (seq, entry) in (first..).zip(&entries) {
        assert_eq!(entry.seq, seq, "numbers are dense");
    }
    let ids: BTreeSet<&str> = entries.iter().map(|entry| entry.event.id.as_str()).collect();
    assert_eq!(ids.len(), entries.len(), "no event is there twice");
    let length = store.outbox_length(0).await.unwrap();
    assert_eq!(length.entries, entries.len() as u64);
    assert_eq!(length.last, entries.last().map_or(first - 1, |last| last.seq));
    entries.into_iter().map(|entry| entry.event).collect()
}

pub fn is_conflict<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Conflict))
}

pub const CLAIM: Duration = Duration::from_secs(30);
