//! The proxy breaks connections where it is told to, and nowhere else.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use millstream_servers::{
    fault::{Direction, Proxy},
    postgres,
};

fn client(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

const STARTUP: [u8; 8] = [0, 0, 0, 8, 0, 3, 0, 0];

fn message(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 4).unwrap();
    [b"Q", &length.to_be_bytes()[..], payload].concat()
}

/// Hears one client; answers with what it heard, up to the end.
struct Server {
    address: SocketAddr,
    thread: std::thread::JoinHandle<Vec<u8>>,
}

impl Server {
    /// It speaks after so many bytes.
    fn that_says(words: Vec<u8>, after: usize) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = vec![0; after];
            stream.read_exact(&mut heard).unwrap();
            stream.write_all(&words).unwrap();
            // A cut connection ends by an end or by a reset.
            let _ = stream.read_to_end(&mut heard);
            heard
        });
        Self { address, thread }
    }
}

#[test]
fn exactly_so_many_messages_reach_the_server() {
    for passed in 0..=3 {
        let server = Server::that_says(Vec::new(), 0);
        let proxy = Proxy::start(server.address).unwrap();
        proxy.cut_after(Direction::ToServer, passed);
        let mut stream = client(proxy.address());
        let said = [STARTUP.to_vec(), message(b"one"), message(&[7; 100_000]), message(b"three")];
        stream.write_all(&said.concat()).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        let heard = server.thread.join().unwrap();
        let expected = said[..usize::try_from(passed).unwrap()].concat();
        assert_eq!(heard.len(), expected.len(), "after {passed}");
        assert!(heard == expected && !proxy.is_armed());
        assert_eq!(proxy.passed(Direction::ToServer), passed);
    }
}

#[test]
fn exactly_so_many_answers_reach_the_client() {
    for passed in 0..=2 {
        let said = [message(b"one"), message(&[7; 100_000]), message(b"three")];
        let server = Server::that_says(said.concat(), STARTUP.len());
        let proxy = Proxy::start(server.address).unwrap();
        proxy.cut_after(Direction::ToClient, passed);
        let mut stream = client(proxy.address());
        stream.write_all(&STARTUP).unwrap();
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        assert_eq!(heard.len(), said[..usize::try_from(passed).unwrap()].concat().len(), "after {passed}");
    }
}

#[test]
fn a_stalled_connection_is_silent_and_then_goes_on() {
    let said = [message(b"one"), message(b"two")];
    let server = Server::that_says(said.concat(), STARTUP.len());
    let proxy = Proxy::start(server.address).unwrap();
    proxy.stall_after(Direction::ToClient, 1);
    let mut stream = client(proxy.address());
    stream.write_all(&STARTUP).unwrap();
    let mut heard = vec![0; said[0].len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, said[0]);
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let silence = stream.read(&mut heard).unwrap_err().kind();
    assert!(matches!(silence, std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{silence}");
    assert_eq!(proxy.connections(), 1);
    proxy.heal().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, said[1]);
}

#[test]
fn cut_and_refused_connections_come_back_healed() {
    let database = postgres::v18().create_database();
    let proxy = Proxy::start(database.address()).unwrap();
    let through = database.through(proxy.address());
    assert_eq!(through.query("SELECT 7").unwrap(), [[Some("7".to_owned())]]);
    // The proxy has not seen that one's end yet.
    proxy.cut().unwrap();
    assert_eq!(proxy.connections(), 0);
    let mut held = client(proxy.address());
    held.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap();
    let mut answer = [0];
    held.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"N", "no TLS on a private server");
    proxy.refuse().unwrap();
    assert_eq!(TcpStream::connect(proxy.address()).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!((proxy.connections(), proxy.server_ports().len()), (1, 1));
    proxy.cut().unwrap();
    assert_eq!((proxy.connections(), proxy.server_ports().len()), (0, 0));
    assert_eq!(held.read(&mut answer).unwrap_or(0), 0);
    proxy.heal().unwrap();
    assert_eq!(through.query("SELECT 8").unwrap(), [[Some("8".to_owned())]]);
}

#[test]
fn a_commit_is_lost_or_only_its_answer_and_every_place_is_reached_once() {
    let database = postgres::v15().create_database();
    database.run("CREATE TABLE t (id int)").unwrap();
    let proxy = Proxy::start(database.address()).unwrap();
    let through = database.through(proxy.address());
    for direction in [Direction::ToServer, Direction::ToClient] {
        let mut failed = 0;
        for passed in 0..50 {
            proxy.cut_after(direction, passed);
            let answer = through.run("INSERT INTO t VALUES (1)");
            if proxy.is_armed() {
                answer.unwrap();
                break;
            }
            failed += u32::from(answer.is_err());
        }
        // Startup, password, query; and what Postgres says to each.
        let all = if direction == Direction::ToServer { 3 } else { 10 };
        assert!(failed >= all, "{direction:?}: {failed} places");
    }
    proxy.heal().unwrap();
    let count: u32 = through.query("SELECT count(*) FROM t").unwrap()[0][0].as_ref().unwrap().parse().unwrap();
    // Both whole runs, and those of which only the answer was cut: CommandComplete, ReadyForQuery.
    assert_eq!(count, 4);
}
