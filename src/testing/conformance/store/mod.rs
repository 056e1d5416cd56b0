//! The promises of [`EventStore`](crate::store::EventStore), one case each.

mod append;
mod close;
mod content;
mod create;
mod idempotence;
mod races;
mod read;
mod removal;
mod subject;

pub use append::*;
pub use close::*;
pub use content::*;
pub use create::*;
pub use idempotence::*;
pub use races::*;
pub use read::*;
pub use removal::*;
pub use subject::{StoreSubject, TestStream};

#[cfg(test)]
pub(super) const SOURCES: &[&str] = &[
    include_str!("append.rs"),
    include_str!("close.rs"),
    include_str!("content.rs"),
    include_str!("create.rs"),
    include_str!("idempotence.rs"),
    include_str!("races.rs"),
    include_str!("read.rs"),
    include_str!("removal.rs"),
];

super::suite! { $ store_conformance, store over StoreSubject, [
    create_again_with_the_same_header_is_no_error
    create_with_another_header_is_refused
    concurrent_creates_leave_one_header
    a_stream_that_was_never_created_is_not_found
    append_never_creates_a_stream
    a_new_stream_ends_before_its_base

    append_lands_behind_the_head_and_says_where
    append_with_stale_version_is_a_conflict
    append_ahead_of_the_head_is_a_conflict
    no_stream_is_met_before_the_first_event_only
    stream_exists_is_met_after_the_first_event_only
    any_is_met_by_every_head
    a_refused_batch_leaves_nothing
    a_batch_beyond_the_limits_is_refused_whole
    the_largest_batch_within_the_limits_is_taken
    append_by_another_maker_is_refused
    append_from_another_base_is_refused
    a_stream_with_a_base_starts_there
    a_base_is_taken_by_the_first_event
    concurrent_any_appends_are_contiguous
    concurrent_exact_appends_have_one_winner

    a_repeated_append_answers_as_the_first_did_in_every_mode
    a_repeated_append_answers_the_same_after_the_close
    known_events_are_a_replay_however_they_are_cut
    known_events_in_another_order_are_duplicates
    known_events_with_a_gap_are_duplicates
    known_and_new_events_together_are_duplicates
    one_id_twice_in_a_batch_is_a_duplicate
    a_known_id_with_another_digest_is_a_duplicate
    ids_come_before_the_expected_version
    concurrent_repeats_of_one_append_land_once
    find_tells_where_each_id_is

    close_at_the_exact_head_ends_the_stream
    close_at_any_other_head_is_a_conflict
    close_by_another_maker_is_refused
    the_same_close_again_answers_the_same
    another_close_is_refused_with_the_first
    concurrent_closes_have_one_winner
    no_append_after_a_close_in_any_mode_at_any_version
    an_empty_stream_can_be_closed
    a_stream_without_base_is_closed_at_the_head_its_closer_knows
    closed_at_is_raised_to_the_last_event
    a_close_event_is_kept_byte_for_byte

    an_open_stream_is_not_removed
    a_removed_stream_leaves_header_head_and_close
    no_append_after_a_removal_in_any_mode_at_any_version
    reads_of_a_removed_stream_are_gone
    a_removed_id_stays_taken
    removing_twice_is_removing_once

    a_read_starts_where_asked_and_tells_the_end
    a_read_stops_at_the_count
    a_read_stops_at_the_bytes_but_returns_one_event
    a_read_from_beyond_the_head_is_empty
    a_read_from_below_the_base_starts_at_the_base
    a_closed_stream_is_read_to_its_end
    reads_beside_appends_see_a_growing_prefix

    payloads_come_back_byte_for_byte
    the_largest_payload_comes_back
    text_and_metadata_come_back_as_they_were
    times_lose_no_nanosecond
    recorded_at_never_decreases
    stream_ids_that_look_alike_stay_apart

    appends_racing_the_close_are_copied_or_refused
] }
