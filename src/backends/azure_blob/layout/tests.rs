//! Blocks come back as they were written, and nothing else is taken for one.

use super::*;
use crate::backends::azure_blob::anchor::Anchor;
use crate::backends::azure_blob::end::End;
use crate::backends::azure_blob::names::BlobName;
use crate::backends::azure_blob::options::AzureBlobOptions;
use crate::backends::azure_blob::window::Window;
use crate::backends::azure_blob::writer::Writer;
use crate::domain::Version;
use crate::runtime::SystemEntropy;
use crate::store::Appended;
use crate::testing::builders::{close_event, events, head, header, migration, object, stream_id};

fn writer() -> Writer {
    let first = BlobName::new(1, Version::FIRST, &SystemEntropy);
    let anchor = Anchor::new(stream_id("Order/1/0000000000"), header(&object("1")), &first);
    Writer::at_start(End::of_anchor(anchor).unwrap(), Window::from(Version::FIRST))
}

fn options(index_bytes: u64) -> AzureBlobOptions {
    AzureBlobOptions { index_bytes, ..AzureBlobOptions::at("https://a.example", "events") }
}

fn block_of(writer: &Writer, numbers: std::ops::Range<u64>, index_bytes: u64) -> Bytes {
    let (first, last) = (Version(numbers.start), Version(numbers.end - 1));
    let appended = Appended { first, last, replay: false };
    writer.events_block(appended, Version::FIRST, &events(numbers), None, &options(index_bytes))
}

fn take(writer: &mut Writer, bytes: &Bytes) {
    let mut walk = Walk::from(writer.end.position, bytes.clone());
    let block = walk.block().unwrap().unwrap();
    writer.take(&block).unwrap();
    assert!(walk.block().unwrap().is_none());
}

#[test]
fn what_was_written_is_walked_through() {
    let mut writer = writer();
    let one = block_of(&writer, 0..3, 1 << 20);
    take(&mut writer, &one);
    let two = block_of(&writer, 3..5, 1 << 20);
    take(&mut writer, &two);
    let event = close_event(migration(1), head(4));
    let three = writer.close_block(Version::FIRST, &event);
    take(&mut writer, &three);
    assert_eq!(writer.end.tail.closed, Some(event));
    assert_eq!(writer.end.tail.head, head(4));
    assert_eq!(writer.end.position as usize, one.len() + two.len() + three.len());

    let all: Bytes = [&one[..], &two[..], &three[..]].concat().into();
    let mut walk = Walk::from(0, all);
    let mut read = Vec::new();
    loop {
        match walk.step().unwrap() {
            Step::Record { kind: Kind::Event, body, .. } => read.push(super::event(&body).unwrap()),
            Step::Block { .. } | Step::Record { .. } | Step::Footer(_) => {}
            Step::Short => break,
        }
    }
    assert_eq!(read, events(0..5));
}

#[test]
fn bytes_that_come_in_pieces_are_walked_through_all_the_same() {
    let block = block_of(&writer(), 0..3, 1);
    let mut walk = Walk::from(0, Bytes::new());
    let mut steps = 0;
    for byte in block.chunks(7) {
        walk.push(Bytes::copy_from_slice(byte));
        loop {
            match walk.step().unwrap() {
                Step::Short => break,
                Step::Block { .. } | Step::Record { .. } | Step::Footer(_) => steps += 1,
            }
        }
    }
    assert_eq!(steps, 1 + 1 + 3 + 1 + 1, "block, opening, events, index, footer");
    assert!(walk.is_between());
}

#[test]
fn no_changed_byte_goes_unnoticed() {
    let block = block_of(&writer(), 0..2, 1);
    for place in 0..block.len() {
        let mut changed = block.to_vec();
        changed[place] ^= 0x20;
        let mut writer = writer();
        let mut walk = Walk::from(0, changed.into());
        let taken = match walk.block() {
            Ok(Some(block)) => writer.take(&block).is_ok() && block.first == Version::FIRST,
            Ok(None) | Err(_) => false,
        };
        assert!(!taken, "byte {place}");
    }
}

#[test]
fn a_block_at_another_place_is_not_taken_for_its_own() {
    let block = block_of(&writer(), 0..2, 1 << 20);
    assert!(Walk::from(40, block.clone()).block().is_err());
    assert!(Walk::from(0, block.slice(1..)).block().is_err());
}

#[test]
fn an_index_leads_to_every_block_before_it() {
    let mut writer = writer();
    let (mut places, mut blob) = (Vec::new(), Vec::new());
    for number in 0..6 {
        let index_bytes = if number == 5 { 1 } else { 1 << 20 };
        let block = block_of(&writer, number..number + 1, index_bytes);
        places.push(writer.end.position);
        take(&mut writer, &block);
        blob.extend_from_slice(&block);
    }
    let place = writer.end.index.unwrap();
    let at = usize::try_from(place.at).unwrap();
    let body = Bytes::from(blob).slice(at..at + place.length as usize);
    let (table, window) = crate::backends::azure_blob::index::read(&body, place.table).unwrap();
    for (number, at) in (0..).zip(places) {
        assert_eq!(table.block_of(Version(number)), Some(at));
        assert_eq!(window.find(events(number..number + 1)[0].event_id), Some(Version(number)));
    }
    assert_eq!(writer.end.segment_at, writer.end.position, "the next segment starts here");
}
