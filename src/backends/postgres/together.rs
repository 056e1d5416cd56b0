//! Appends of many callers that are expected to be taken, in a statement that costs less than the
//! one that judges each by itself. What it did not take, that one judges.

use std::collections::HashMap;

use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::batch::{Queued, heard};
use super::connections::Connections;
use super::error::{Failure, damaged};
use super::layout;
use super::statements::Statements;
use crate::domain::Event;
use crate::store::{Append, Appended, StoreError};

/// Asks once. One entry for each append, in their order; None: nothing was done for it.
pub(super) async fn ask(
    connections: &Connections,
    statements: &Statements,
    channel: Option<&str>,
    batch: &[Queued],
) -> Result<Vec<Option<Appended>>, Failure> {
    let groups = groups_of(batch);
    let columns = Columns::of(&groups);
    let heard = channel.map(|_| heard(&columns.streams));
    let rows = connections
        .query(
            &statements.append_together,
            &[
                (&channel, Type::TEXT),
                (&heard, Type::TEXT),
                (&columns.streams, Type::TEXT_ARRAY),
                (&columns.makers, Type::UUID_ARRAY),
                (&columns.wanted, Type::INT8_ARRAY),
                (&columns.event_ids, Type::UUID_ARRAY),
                (&columns.numbers, Type::INT8_ARRAY),
                (&columns.event_types, Type::TEXT_ARRAY),
                (&columns.content_types, Type::TEXT_ARRAY),
                (&columns.metadatas, Type::TEXT_ARRAY),
                (&columns.bodies, Type::BYTEA_ARRAY),
            ],
        )
        .await?;
    // What is damaged in the answer came behind the commit.
    let told = read(batch.len(), &groups, &rows);
    told.map_err(|error| Failure::Lost(error.into()))
}

/// What is meant for one stream: all of it is taken, or nothing.
struct Group<'a> {
    stream: &'a str,
    /// Their places in the batch, and how many events each has.
    members: Vec<(usize, u64)>,
    /// Those of the first member hold for all.
    first: &'a Append,
    events: Vec<&'a Event>,
}

/// What goes together by its stream, without what only the server can judge behind the others.
fn groups_of(batch: &[Queued]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::with_capacity(batch.len());
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(batch.len());
    for (member, Queued { stream, append, .. }) in batch.iter().enumerate() {
        let stream = stream.as_str();
        let place = *places.entry(stream).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Group { stream, members: Vec::new(), first: append, events: Vec::new() });
        }
        let group = &mut groups[place];
        if group.takes(append) {
            group.members.push((member, append.events.len() as u64));
            group.events.extend(&append.events);
        }
    }
    groups
}

impl Group<'_> {
    fn takes(&self, next: &Append) -> bool {
        self.members.is_empty()
            || next.made_by == self.first.made_by
                && next.base == self.first.base
                && next.expected.is_met_behind(self.first.expected, self.events.len() as u64)
    }
}

/// The groups and their events as the statement takes them. All counts lie far below 2^31: limits
/// see to it.
struct Columns<'a> {
    streams: Vec<&'a str>,
    makers: Option<Vec<Option<Uuid>>>,
    wanted: Vec<Option<i64>>,
    event_ids: Vec<Uuid>,
    numbers: Vec<Option<i64>>,
    event_types: Vec<&'a str>,
    content_types: Vec<&'a str>,
    metadatas: Option<Vec<Option<String>>>,
    bodies: Vec<Vec<u8>>,
}

impl<'a> Columns<'a> {
    fn of(groups: &[Group<'a>]) -> Self {
        let events = || groups.iter().flat_map(|group| group.events.iter().copied());
        let makers = groups.iter().map(|group| layout::maker(group.first.made_by));
        let metadatas = events().map(|event| layout::metadata_text(&event.metadata));
        let mut columns = Self {
            streams: groups.iter().map(|group| group.stream).collect(),
            makers: unless_none(makers),
            wanted: Vec::with_capacity(groups.len() * 4),
            event_ids: events().map(|event| event.event_id.0).collect(),
            numbers: Vec::with_capacity(events().count() * 6),
            event_types: events().map(|event| event.event_type.as_str()).collect(),
            content_types: events().map(|event| event.content_type.as_str()).collect(),
            metadatas: unless_none(metadatas),
            bodies: events().map(body).collect(),
        };
        for (place, group) in (1..).zip(groups) {
            columns.push_numbers(place, group);
        }
        columns
    }

    fn push_numbers(&mut self, place: i64, group: &Group<'_>) {
        // The server raises each to that of the stream.
        let mut recorded = i64::MIN;
        for (offset, event) in (0..).zip(&group.events) {
            recorded = recorded.max(event.recorded_at.nanos());
            self.numbers.extend([
                Some(place),
                Some(offset),
                Some(event.schema_version.into()),
                event.occurred_at.map(|moment| moment.nanos()),
                Some(recorded),
                Some(event.size() as i64),
            ]);
        }
        self.wanted.extend([
            // Whoever queued it has looked.
            Some(group.first.base.0.cast_signed()),
            layout::expected_next(group.first.expected),
            Some(group.events.len() as i64),
            Some(recorded),
        ]);
    }
}

/// None when all are: then the server need not look at them.
fn unless_none<T>(values: impl Iterator<Item = Option<T>>) -> Option<Vec<Option<T>>> {
    let values: Vec<Option<T>> = values.collect();
    values.iter().any(Option::is_some).then_some(values)
}

fn body(event: &Event) -> Vec<u8> {
    [event.digest.as_bytes().as_slice(), &event.payload].concat()
}

fn read(
    count: usize,
    groups: &[Group<'_>],
    rows: &[Row],
) -> Result<Vec<Option<Appended>>, StoreError> {
    let row = rows.first().ok_or_else(|| damaged("no answer to an append"))?;
    let firsts: Vec<Option<i64>> = layout::column(row, "firsts")?;
    if firsts.len() != groups.len() {
        return Err(damaged("not one answer for each stream"));
    }
    let mut told = vec![None; count];
    for (group, first) in groups.iter().zip(firsts) {
        let Some(first) = first else { continue };
        let mut first = layout::unsigned(first)?;
        for (member, events) in &group.members {
            let last = first.plus(events - 1);
            told[*member] = Some(Appended { first, last, replay: false });
            first = last.next();
        }
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::super::batch::unheard;
    use super::*;
    use crate::domain::{ExpectedVersion, Version};
    use crate::testing::builders::{self, EventBuilder, RECORDED_AT, events};

    fn queued(stream: &str, append: Append) -> Queued {
        unheard(stream, append, 0)
    }

    fn exact(version: u64) -> ExpectedVersion {
        ExpectedVersion::Exact(Version(version))
    }

    fn members(batch: &[Queued]) -> Vec<Vec<(usize, u64)>> {
        groups_of(batch).into_iter().map(|group| group.members).collect()
    }

    #[test]
    fn what_is_met_behind_the_first_of_its_stream_goes_with_it() {
        let append = |expected, numbers| builders::append(expected, events(numbers));
        let batch = [
            queued("a", append(exact(3), 0..2)),
            queued("b", append(ExpectedVersion::Any, 10..11)),
            queued("a", append(exact(5), 2..3)),
            queued("a", append(exact(5), 3..4)),
            queued("b", append(exact(7), 11..12)),
            queued("a", append(ExpectedVersion::StreamExists, 4..5)),
        ];
        assert_eq!(members(&batch), [vec![(0, 2), (2, 1), (5, 1)], vec![(1, 1)]]);
    }

    #[test]
    fn what_names_another_stream_by_the_same_id_is_left_for_the_judge() {
        let append = builders::append(ExpectedVersion::Any, events(0..1));
        let made = Append { made_by: Some(builders::migration(1)), ..append.clone() };
        let based = Append { base: Version(7), ..append.clone() };
        let batch = [queued("a", append), queued("a", made), queued("a", based)];
        assert_eq!(members(&batch), [[(0, 1)]]);
    }

    #[test]
    fn times_never_go_back_within_what_goes_together() {
        let event = |number, seconds| {
            let later = RECORDED_AT.plus(std::time::Duration::from_secs(seconds));
            vec![EventBuilder::new(number).recorded_at(later).build()]
        };
        let append = |events| builders::append(ExpectedVersion::Any, events);
        let batch = [queued("a", append(event(0, 9))), queued("a", append(event(1, 2)))];
        let columns = Columns::of(&groups_of(&batch));
        let later = RECORDED_AT.plus(std::time::Duration::from_secs(9)).nanos();
        let recorded: Vec<_> = columns.numbers.chunks(6).map(|numbers| numbers[4]).collect();
        assert_eq!(recorded, [Some(later); 2]);
        assert_eq!(columns.wanted, [Some(0), None, Some(2), Some(later)]);
    }
}
