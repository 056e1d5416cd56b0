//! Lines of a file or of stdin, unpacked if need be, each parsed into the append it asks for.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use crate::cli::event_line::EventLine;
use crate::cli::failure::Failure;
use crate::grpc::v1;

/// Longer lines are no events: the largest payload of any server is far below.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;
const BUFFER_BYTES: usize = 256 * 1024;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// One line that can be sent.
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) object: v1::ObjectRef,
    pub(super) event: v1::NewEvent,
}

impl Line {
    /// What it holds in memory, nearly.
    pub(super) fn size(&self) -> usize {
        self.event.payload.len() + 256
    }
}

/// The line at which reading had to end.
#[derive(Debug)]
pub(super) struct BadLine {
    pub(super) number: u64,
    pub(super) problem: String,
}

/// Where lines come from.
pub(super) struct Source {
    reader: Box<dyn BufRead + Send>,
    /// Bytes taken so far, before unpacking.
    pub(super) taken: Arc<AtomicU64>,
    /// Bytes in all, for a file.
    pub(super) size: Option<u64>,
    number: u64,
    buffer: Vec<u8>,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let cannot = |error| Failure::local(format!("read {}", path.display()), error);
        if path == Path::new("-") {
            return Self::of(io::stdin(), None).map_err(cannot);
        }
        let file = File::open(path).map_err(cannot)?;
        let metadata = file.metadata().map_err(cannot)?;
        let size = metadata.is_file().then_some(metadata.len());
        Self::of(file, size).map_err(cannot)
    }

    /// Knows gzip by its first two bytes, whatever the name says.
    pub(super) fn of(input: impl Read + Send + 'static, size: Option<u64>) -> io::Result<Self> {
        let taken = Arc::new(AtomicU64::new(0));
        let mut input = Counted { input, taken: Arc::clone(&taken) };
        let mut head = Vec::with_capacity(GZIP_MAGIC.len());
        (&mut input).take(GZIP_MAGIC.len() as u64).read_to_end(&mut head)?;
        let is_gzip = head == GZIP_MAGIC;
        let whole = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(head).chain(input));
        let reader: Box<dyn BufRead + Send> = if is_gzip {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(whole)))
        } else {
            Box::new(whole)
        };
        Ok(Self { reader, taken, size, number: 0, buffer: Vec::new() })
    }

    /// The next line that is not blank and not before `from_line`; none at the end.
    pub(super) fn next(&mut self, from_line: u64) -> Result<Option<Line>, BadLine> {
        loop {
            self.buffer.clear();
            let mut limited = (&mut self.reader).take(LINE_BYTES_MAX + 1);
            let read = limited.read_until(b'\n', &mut self.buffer);
            self.number += 1;
            let number = self.number;
            let bad = |problem: String| BadLine { number, problem };
            match read {
                Err(error) => return Err(bad(format!("cannot be read: {error}"))),
                Ok(0) => return Ok(None),
                Ok(bytes) if bytes as u64 > LINE_BYTES_MAX => {
                    return Err(bad(format!("has more than {LINE_BYTES_MAX} bytes")));
                }
                Ok(_) => {}
            }
            if number < from_line || self.buffer.trim_ascii().is_empty() {
                continue;
            }
            let (object, event) = parse(&self.buffer).map_err(bad)?;
            return Ok(Some(Line { number, object, event }));
        }
    }
}

/// The payload is exactly the characters that stand in the line.
fn parse(line: &[u8]) -> Result<(v1::ObjectRef, v1::NewEvent), String> {
    let line: EventLine<'_> = serde_json::from_slice(line).map_err(|error| {
        // The position within the line; its number is ours to tell.
        format!("{error}").replace(" at line 1 column ", " at column ")
    })?;
    line.into_event()
}

/// Counts what is taken from the input.
struct Counted<R> {
    input: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.input.read(buffer)?;
        self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const FIRST: &str = concat!(
        r#"{"object_name":"permit","object_id":"1","event_id":"a","event_type":"T","#,
        r#""occurred_at":"2010-10-02T07:20:39.266000Z","payload":{"x":1.0,  "y":"\u00e4"}}"#,
    );
    const SECOND: &str =
        r#"{"object_name":"permit","object_id":"2","event_id":"b","event_type":"T","payload":[]}"#;

    /// Hands out one byte at a time, as a slow pipe may.
    struct Drops(Cursor<Vec<u8>>);

    impl Read for Drops {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let end = buffer.len().min(1);
            self.0.read(&mut buffer[..end])
        }
    }

    fn lines(bytes: Vec<u8>, from_line: u64) -> Result<Vec<Line>, BadLine> {
        let mut source = Source::of(Drops(Cursor::new(bytes)), None).unwrap();
        let mut lines = Vec::new();
        while let Some(line) = source.next(from_line)? {
            lines.push(line);
        }
        Ok(lines)
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_payload_is_the_very_characters_of_its_line() {
        let lines = lines(format!("{FIRST}\r\n\n{SECOND}").into_bytes(), 1).unwrap();
        assert_eq!(&lines[0].event.payload[..], br#"{"x":1.0,  "y":"\u00e4"}"#);
        assert_eq!(lines[0].event.content_type, "application/json");
        assert_eq!(lines[0].event.occurred_at.unwrap().nanos, 266_000_000);
        assert_eq!((lines[0].number, lines[1].number), (1, 3), "blank lines count");
        assert_eq!(lines[1].object.object_id, "2");
    }

    #[test]
    fn gzip_is_known_by_its_magic_and_may_have_members() {
        let mut bytes = gzip(&format!("{FIRST}\n"));
        bytes.extend(gzip(SECOND));
        let unpacked = lines(bytes, 1).unwrap();
        assert_eq!(unpacked.len(), 2);
        assert_eq!(unpacked[1].event.event_id, "b");
    }

    #[test]
    fn short_and_empty_inputs_are_whole() {
        assert!(lines(Vec::new(), 1).unwrap().is_empty());
        assert!(lines(b"\n".to_vec(), 1).unwrap().is_empty());
        assert_eq!(lines(b"{".to_vec(), 1).err().unwrap().number, 1);
    }

    #[test]
    fn a_bad_line_is_named_by_its_number_and_column() {
        let bad = lines(format!("{FIRST}\n\n{{\"object_name\":1}}\n").into_bytes(), 1);
        let bad = bad.err().unwrap();
        assert_eq!(bad.number, 3);
        assert!(bad.problem.contains("at column 16"), "{}", bad.problem);
        assert!(!bad.problem.contains("line"), "{}", bad.problem);
    }

    #[test]
    fn broken_gzip_is_an_error_and_not_an_end() {
        let mut bytes = gzip(&format!("{FIRST}\n{SECOND}\n"));
        bytes.truncate(bytes.len() - 9);
        assert!(lines(bytes, 1).is_err());
    }

    #[test]
    fn lines_of_an_earlier_run_are_passed_over_unread() {
        let rest = lines(format!("no json\n{SECOND}\n").into_bytes(), 2).unwrap();
        assert_eq!(rest[0].number, 2);
    }
}
