//! Where a message of Postgres' protocol ends and the next one begins, without looking into it.

use std::{
    io,
    sync::atomic::{AtomicU8, Ordering},
};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use super::Direction;

/// Requests for encryption, instead of a version number: SSL and GSSAPI.
const ENCRYPTION_REQUESTS: [u32; 2] = [80_877_103, 80_877_104];

/// The first byte of a TLS record that opens a connection.
const TLS_HANDSHAKE: u8 = 0x16;

/// What both directions of a connection speak. The client's side sets it before the message that says so is passed
/// on, and the other side reads it when the answer to that message is there.
#[derive(Debug, Default)]
pub(super) struct Dialect(AtomicU8);

const PLAIN: u8 = 0;
/// The server's next byte is its answer, and is all of its message.
const ASKED: u8 = 1;
/// A TLS record is a message: what is in it cannot be seen.
const TLS: u8 = 2;

/// Finds the messages of one direction.
#[derive(Debug)]
pub(super) struct Framing {
    direction: Direction,
    /// A client's first messages have no byte for their kind.
    is_startup: bool,
}

/// A message whose head has been read; `rest` bytes follow.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) bytes: Vec<u8>,
    pub(super) rest: usize,
}

impl Framing {
    pub(super) fn new(direction: Direction) -> Self {
        Self { direction, is_startup: direction == Direction::ToServer }
    }

    /// Reads the head of the message that begins with the next byte, which must be there.
    pub(super) async fn head(
        &mut self,
        reader: &mut (impl AsyncBufRead + Unpin),
        dialect: &Dialect,
    ) -> io::Result<Head> {
        let first = reader.fill_buf().await?.first().copied();
        if self.is_startup && first == Some(TLS_HANDSHAKE) {
            dialect.0.store(TLS, Ordering::SeqCst);
        }
        match dialect.0.load(Ordering::SeqCst) {
            ASKED if self.direction == Direction::ToClient => {
                let answer = take(reader, 1).await?;
                dialect.0.store(if answer == b"S" { TLS } else { PLAIN }, Ordering::SeqCst);
                Ok(Head { bytes: answer, rest: 0 })
            }
            TLS => {
                let bytes = take(reader, 5).await?;
                let rest = usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
                Ok(Head { bytes, rest })
            }
            _ if self.is_startup => {
                let bytes = take(reader, 8).await?;
                let code = number(&bytes[4..]);
                if ENCRYPTION_REQUESTS.contains(&code) {
                    dialect.0.store(ASKED, Ordering::SeqCst);
                } else {
                    self.is_startup = false;
                }
                let rest = (number(&bytes) as usize).saturating_sub(8);
                Ok(Head { bytes, rest })
            }
            _ => {
                let bytes = take(reader, 5).await?;
                let rest = (number(&bytes[1..]) as usize).saturating_sub(4);
                Ok(Head { bytes, rest })
            }
        }
    }
}

async fn take(reader: &mut (impl AsyncBufRead + Unpin), count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    reader.read_exact(&mut bytes).await?;
    Ok(bytes)
}

fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lengths of the messages in `bytes`.
    async fn lengths(framing: &mut Framing, dialect: &Dialect, mut bytes: &[u8]) -> Vec<usize> {
        let mut lengths = Vec::new();
        while !bytes.is_empty() {
            let head = framing.head(&mut bytes, dialect).await.expect("whole messages");
            bytes = &bytes[head.rest..];
            lengths.push(head.bytes.len() + head.rest);
        }
        lengths
    }

    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    const STARTUP: [u8; 9] = [0, 0, 0, 9, 0, 3, 0, 0, 0];
    const SYNC: [u8; 5] = [b'S', 0, 0, 0, 4];
    const RECORD: [u8; 7] = [TLS_HANDSHAKE, 3, 1, 0, 2, 7, 7];

    #[tokio::test]
    async fn messages_are_told_apart_from_the_first_byte_on() {
        let (mut client, dialect) = (Framing::new(Direction::ToServer), Dialect::default());
        let sent = [&STARTUP[..], &SYNC, &[b'Q', 0, 0, 0, 6, b';', 0]].concat();
        assert_eq!(lengths(&mut client, &dialect, &sent).await, [9, 5, 7]);
    }

    #[tokio::test]
    async fn a_refused_encryption_is_one_byte_and_the_startup_follows() {
        let (mut client, mut server) = (Framing::new(Direction::ToServer), Framing::new(Direction::ToClient));
        let dialect = Dialect::default();
        assert_eq!(lengths(&mut client, &dialect, &SSL_REQUEST).await, [8]);
        assert_eq!(lengths(&mut server, &dialect, b"N").await, [1]);
        assert_eq!(lengths(&mut client, &dialect, &[&STARTUP[..], &SYNC].concat()).await, [9, 5]);
        assert_eq!(lengths(&mut server, &dialect, &SYNC).await, [5]);
    }

    #[tokio::test]
    async fn under_encryption_a_record_is_a_message() {
        let (mut client, mut server) = (Framing::new(Direction::ToServer), Framing::new(Direction::ToClient));
        let dialect = Dialect::default();
        assert_eq!(lengths(&mut client, &dialect, &SSL_REQUEST).await, [8]);
        assert_eq!(lengths(&mut server, &dialect, b"S").await, [1]);
        assert_eq!(lengths(&mut client, &dialect, &[RECORD, RECORD].concat()).await, [7, 7]);
        assert_eq!(lengths(&mut server, &dialect, &RECORD).await, [7]);
    }
}
