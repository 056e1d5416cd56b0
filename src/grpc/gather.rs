//! What is written to a connection, gathered while others are about to write to it too.
//!
//! Answers that become ready together, as those of one transaction do, would each be a call of the
//! system and a packet of its own, which cost more than the answer. So a flush first lets whatever
//! is ready to run go, once, and then sends all that was written meanwhile. Where nothing else is
//! ready that costs no time.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};

/// Bytes that are gathered; what is longer is not copied. About forty answers to appends.
const GATHERED_MAX: usize = 4096;

pub(super) struct Gathered<S> {
    stream: BufWriter<S>,
    /// The others were let go before this flush.
    others_went: bool,
}

impl<S: AsyncWrite> Gathered<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream: BufWriter::with_capacity(GATHERED_MAX, stream), others_went: false }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.stream.buffer().is_empty() && !self.others_went {
            self.others_went = true;
            // A task that wakes itself goes behind all that are ready.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(context));
        self.others_went = false;
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use futures::task::noop_waker_ref;
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Notes each write.
    #[derive(Default)]
    struct Written(Vec<Vec<u8>>);

    impl AsyncWrite for Written {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<Result<usize>> {
            self.0.push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn write(stream: &mut Gathered<Written>, bytes: &[u8]) {
        let context = &mut Context::from_waker(noop_waker_ref());
        let written = Pin::new(stream).poll_write(context, bytes);
        assert!(matches!(written, Poll::Ready(Ok(count)) if count == bytes.len()), "{written:?}");
    }

    fn flush(stream: &mut Gathered<Written>) -> Poll<()> {
        let context = &mut Context::from_waker(noop_waker_ref());
        Pin::new(stream).poll_flush(context).map(Result::unwrap)
    }

    #[test]
    fn a_flush_takes_along_what_is_written_once_the_others_went() {
        let mut stream = Gathered::new(Written::default());
        assert_eq!(flush(&mut stream), Poll::Ready(()), "there is nothing to wait for");
        for round in [b'a', b'c'] {
            write(&mut stream, &[round]);
            assert_eq!(flush(&mut stream), Poll::Pending);
            write(&mut stream, &[round + 1]);
            assert_eq!(flush(&mut stream), Poll::Ready(()));
        }
        assert_eq!(stream.stream.get_ref().0, [b"ab", b"cd"]);
    }

    #[test]
    fn what_is_long_goes_at_once_and_behind_what_came_before() {
        let mut stream = Gathered::new(Written::default());
        let long = vec![7; GATHERED_MAX];
        write(&mut stream, b"short");
        write(&mut stream, &long);
        assert_eq!(stream.stream.get_ref().0, [b"short".to_vec(), long]);
    }

    #[tokio::test]
    async fn a_flush_comes_back_by_itself_and_a_shutdown_loses_nothing() {
        let mut stream = Gathered::new(Written::default());
        stream.write_all(b"a").await.unwrap();
        stream.flush().await.unwrap();
        stream.write_all(b"b").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(stream.stream.get_ref().0, [b"a", b"b"]);
    }
}
