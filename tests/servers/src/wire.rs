//! As much of Postgres' protocol as a test needs to ask a server something without a driver.

use std::{
    io::{self, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::{Error, Result};

/// The rows of an answer, as text; NULL is None.
pub type Rows = Vec<Vec<Option<String>>>;

/// A test's question is answered sooner, or something is wrong.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The protocol's own: version 3.0.
const PROTOCOL: i32 = 196_608;

/// A connection that asks one thing at a time.
#[derive(Debug)]
pub(crate) struct Session {
    server: BufReader<TcpStream>,
}

#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) address: SocketAddr,
    pub(crate) user: &'static str,
    pub(crate) password: String,
}

impl Session {
    pub(crate) fn open(login: &Login, database: &str) -> Result<Self> {
        let failed = |error: io::Error| Error::new(format!("failed to connect to {}: {error}", login.address));
        let stream = TcpStream::connect(login.address).map_err(failed)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let mut session = Self { server: BufReader::new(stream) };
        session.log_in(login, database).map_err(failed)??;
        Ok(session)
    }

    /// The rows of the last statement in `sql` that has any.
    pub(crate) fn query(&mut self, sql: &str) -> Result<Rows> {
        let answer = self.send(b'Q', &text(sql)).and_then(|()| self.answer());
        answer
            .map_err(|error| Error::new(format!("`{sql}`: {error}")))?
            .map_err(|error| Error::new(format!("`{sql}`: {error}")))
    }

    fn log_in(&mut self, login: &Login, database: &str) -> io::Result<Result<Rows>> {
        let mut startup = PROTOCOL.to_be_bytes().to_vec();
        for word in ["user", login.user, "database", database, ""] {
            startup.extend(text(word));
        }
        self.server.get_mut().write_all(&framed(&startup))?;
        let (kind, body) = self.message()?;
        match (kind, body.get(..4)) {
            (b'R', Some([0, 0, 0, 0])) => self.answer(),
            (b'R', Some([0, 0, 0, 3])) => {
                self.send(b'p', &text(&login.password))?;
                self.answer()
            }
            (b'E', _) => Ok(Err(Error::new(complaint(&body)))),
            _ => Ok(Err(Error::new("asked for a way to log in that this client does not know"))),
        }
    }

    /// Everything up to the server's being ready again.
    fn answer(&mut self) -> io::Result<Result<Rows>> {
        let mut rows = Rows::new();
        let mut failed = None;
        loop {
            match self.message()? {
                (b'Z', _) => return Ok(failed.map_or(Ok(rows), Err)),
                (b'T', _) => rows.clear(),
                (b'D', body) => rows.push(row(&body).ok_or_else(|| io::Error::other("a row that makes no sense"))?),
                (b'E', body) => {
                    let error = Error::new(complaint(&body));
                    // A fatal one is the last word; the next read finds the end.
                    if body.starts_with(b"SFATAL") {
                        return Ok(Err(error));
                    }
                    failed = Some(error);
                }
                _ => {}
            }
        }
    }

    fn send(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let mut message = vec![kind];
        message.extend(framed(body));
        self.server.get_mut().write_all(&message)
    }

    fn message(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.server.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut body = vec![0; length.saturating_sub(4)];
        self.server.read_exact(&mut body)?;
        Ok((head[0], body))
    }
}

fn text(word: &str) -> Vec<u8> {
    [word.as_bytes(), &[0]].concat()
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a test's question is short");
    [&length.to_be_bytes(), body].concat()
}

fn row(body: &[u8]) -> Option<Vec<Option<String>>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut row = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        // NULL has the length -1.
        let length = usize::try_from(i32::from_be_bytes(*length)).ok();
        let (value, behind) = behind.split_at_checked(length.unwrap_or(0))?;
        row.push(length.map(|_| String::from_utf8_lossy(value).into_owned()));
        rest = behind;
    }
    Some(row)
}

/// `ERROR 42P01: relation "t" does not exist`
fn complaint(body: &[u8]) -> String {
    let fields: Vec<_> = body.split(|byte| *byte == 0).filter_map(|field| field.split_first()).collect();
    let field = |kind: u8| {
        let found = fields.iter().find(|(first, _)| **first == kind);
        found.map(|(_, text)| String::from_utf8_lossy(text)).unwrap_or_default()
    };
    format!("{} {}: {}", field(b'S'), field(b'C'), field(b'M'))
}
