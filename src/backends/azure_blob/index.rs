//! The index that is written into a block now and then: where the blocks before it lie, so that a
//! read from any version downloads nothing before its segment, and the ids of the newest events,
//! so that a writer who knows nothing of a stream need not read its payloads.
//!
//! ```text
//! table   CRC-32 of the rest of the table u32
//!         count u32, then of each block since the last index: place u64, first version u64
//!         count u32, then of each earlier index: place u64, length u32, length of its table u32,
//!         first version of its segment u64
//! ids     first version u64, count u32, then 16 bytes of each id
//! ```

use bytes::Bytes;

use super::layout::{BadBlock, IndexPlace, length_of, u32_at, u64_at};
use super::window::Window;
use crate::domain::{EventId, Version};

/// Indexes of one blob; a blob that has as many is full. It bounds the size of a table.
pub(super) const INDEXES_MAX: usize = 512;

/// Where a block starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockPlace {
    pub(super) first: Version,
    pub(super) at: u64,
}

/// An index of a blob, and the first version of the segment that it closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub(super) first: Version,
    pub(super) place: IndexPlace,
}

/// The first part of an index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// The blocks of its segment, in order; the one that holds the index is the last.
    pub(super) blocks: Vec<BlockPlace>,
    /// The indexes of the blob before this one.
    pub(super) earlier: Vec<IndexEntry>,
}

impl Table {
    /// Where the last block starts whose first version is at most this one.
    pub(super) fn block_of(&self, version: Version) -> Option<u64> {
        let behind = self.blocks.partition_point(|block| block.first <= version);
        Some(self.blocks[behind.checked_sub(1)?].at)
    }

    /// The index whose segment holds this version, if it is an earlier one.
    pub(super) fn earlier_of(&self, version: Version) -> Option<IndexPlace> {
        if self.blocks.first().is_some_and(|block| block.first <= version) {
            return None;
        }
        let behind = self.earlier.partition_point(|entry| entry.first <= version);
        Some(self.earlier.get(behind.saturating_sub(1))?.place)
    }

    /// Appends it; answers its length.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> u32 {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&length_of(self.blocks.len()).to_be_bytes());
        for block in &self.blocks {
            out.extend_from_slice(&block.at.to_be_bytes());
            out.extend_from_slice(&block.first.0.to_be_bytes());
        }
        out.extend_from_slice(&length_of(self.earlier.len()).to_be_bytes());
        for IndexEntry { first, place } in &self.earlier {
            out.extend_from_slice(&place.at.to_be_bytes());
            out.extend_from_slice(&place.length.to_be_bytes());
            out.extend_from_slice(&place.table.to_be_bytes());
            out.extend_from_slice(&first.0.to_be_bytes());
        }
        let checksum = crc32fast::hash(&out[start + 4..]);
        out[start..start + 4].copy_from_slice(&checksum.to_be_bytes());
        length_of(out.len() - start)
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, BadBlock> {
        let bad = || BadBlock("the table of an index is damaged".into());
        if bytes.len() < 4 || u32_at(bytes, 0) != crc32fast::hash(&bytes[4..]) {
            return Err(bad());
        }
        let mut rest = &bytes[4..];
        let mut counted = |size: usize| -> Result<Vec<&[u8]>, BadBlock> {
            let (count, behind) = rest.split_first_chunk::<4>().ok_or_else(bad)?;
            let length = u32::from_be_bytes(*count) as usize * size;
            let entries = behind.get(..length).ok_or_else(bad)?;
            rest = &behind[length..];
            Ok(entries.chunks_exact(size).collect())
        };
        let block =
            |entry: &[u8]| BlockPlace { at: u64_at(entry, 0), first: Version(u64_at(entry, 8)) };
        let blocks = counted(16)?.into_iter().map(block).collect();
        let index = |entry: &[u8]| IndexEntry {
            place: IndexPlace {
                at: u64_at(entry, 0),
                length: u32_at(entry, 8),
                table: u32_at(entry, 12),
            },
            first: Version(u64_at(entry, 16)),
        };
        let earlier = counted(24)?.into_iter().map(index).collect();
        Ok(Self { blocks, earlier })
    }
}

/// Appends the second part of an index.
pub(super) fn write_ids(window: &Window, out: &mut Vec<u8>) {
    out.extend_from_slice(&window.first().0.to_be_bytes());
    out.extend_from_slice(&length_of(window.len()).to_be_bytes());
    for id in window.ids() {
        out.extend_from_slice(id.as_bytes());
    }
}

/// Both parts of an index.
pub(super) fn read(body: &Bytes, table: u32) -> Result<(Table, Window), BadBlock> {
    let bad = || BadBlock("the ids of an index are damaged".into());
    let (table, ids) = body.split_at_checked(table as usize).ok_or_else(bad)?;
    let table = Table::read(table)?;
    if ids.len() < 12 {
        return Err(bad());
    }
    let first = Version(u64_at(ids, 0));
    let count = u32_at(ids, 8) as usize;
    let ids = ids[12..].chunks_exact(16).map(|id| id.try_into().expect("a chunk has 16 bytes"));
    if ids.len() != count {
        return Err(bad());
    }
    let mut window = Window::from(first);
    for id in ids {
        window.push(EventId::from_bytes(id));
    }
    Ok((table, window))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(at: u64) -> IndexPlace {
        IndexPlace { at, length: 9, table: 5 }
    }

    #[test]
    fn an_index_is_read_back() {
        let block = |first, at| BlockPlace { first: Version(first), at };
        let earlier = vec![
            IndexEntry { first: Version(0), place: place(90) },
            IndexEntry { first: Version(4), place: place(400) },
        ];
        let table = Table { blocks: vec![block(9, 1_000), block(12, 2_000)], earlier };
        let mut window = Window::from(Version(3));
        (0..5).for_each(|id| window.push(EventId::from_bytes([id; 16])));
        let mut bytes = Vec::new();
        let length = table.write(&mut bytes);
        write_ids(&window, &mut bytes);
        let (table_read, window_read) = read(&Bytes::from(bytes.clone()), length).unwrap();
        assert_eq!(table_read, table);
        assert_eq!(window_read.find(EventId::from_bytes([4; 16])), Some(Version(7)));
        bytes[8] ^= 1;
        assert!(read(&Bytes::from(bytes), length).is_err());
    }

    #[test]
    fn each_version_leads_to_its_block() {
        let block = |first, at| BlockPlace { first: Version(first), at };
        let earlier = vec![
            IndexEntry { first: Version(0), place: place(90) },
            IndexEntry { first: Version(4), place: place(400) },
        ];
        let table = Table { blocks: vec![block(9, 1_000), block(12, 2_000)], earlier };
        assert_eq!(table.block_of(Version(9)), Some(1_000));
        assert_eq!(table.block_of(Version(11)), Some(1_000));
        assert_eq!(table.block_of(Version(50)), Some(2_000));
        assert_eq!(table.earlier_of(Version(9)), None);
        assert_eq!(table.earlier_of(Version(8)), Some(place(400)));
        assert_eq!(table.earlier_of(Version(3)), Some(place(90)));
    }
}
