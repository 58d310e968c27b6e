//! A private Redis, which ends with the value.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
};

use crate::Failure;

const START_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(crate) struct Redis {
    server: Child,
    port: u16,
    _folder: TempDir,
}

impl Redis {
    /// Where `benches/peers/install.sh` puts it.
    pub(crate) fn program(installed: &Path) -> PathBuf {
        installed.join("redis/usr/bin/redis-server")
    }

    /// `appendfsync`: `off` (nothing is written), `everysec` or `always`.
    pub(crate) async fn start(installed: &Path, appendfsync: &str) -> Result<Self, Failure> {
        let folder = TempDir::with_prefix("millstream-bench-redis-")?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut command = Command::new(Self::program(installed));
        command.args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--maxmemory-policy",
            "noeviction",
            "--loglevel",
            "warning",
        ]);
        command.arg("--port").arg(port.to_string()).arg("--dir").arg(folder.path());
        match appendfsync {
            "off" => command.args(["--appendonly", "no"]),
            when => command.args(["--appendonly", "yes", "--appendfsync", when]),
        };
        command.env("LD_LIBRARY_PATH", libraries(installed));
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn()?;
        let mut redis = Self { server, port, _folder: folder };
        match tokio::time::timeout(START_WITHIN, redis.answers()).await {
            Ok(answered) => answered.map(|()| redis),
            Err(_) => Err(format!("redis-server did not answer within {} s", START_WITHIN.as_secs()).into()),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.server.id()
    }

    async fn answers(&mut self) -> Result<(), Failure> {
        loop {
            if let Some(status) = self.server.try_wait()? {
                return Err(format!("redis-server ended: {status}").into());
            }
            if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await {
                let mut answer = [0; 7];
                stream.write_all(b"PING\r\n").await?;
                if stream.read_exact(&mut answer).await.is_ok() && &answer == b"+PONG\r\n" {
                    return Ok(());
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Those of Debian's packages that were unpacked beside it.
fn libraries(installed: &Path) -> PathBuf {
    let entries = std::fs::read_dir(installed.join("redis/usr/lib")).into_iter().flatten().flatten();
    let mut folders = entries.map(|entry| entry.path());
    folders.find(|folder| folder.to_string_lossy().contains("-linux-gnu")).unwrap_or_default()
}
