//! Processes that are killed, stopped and woken.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{self, Command, ExitStatus, Stdio},
};

use crate::{Result, command};

/// Ends a process without a chance to clean up.
pub fn kill9(pid: u32) -> Result<()> {
    signal("KILL", pid)
}

/// Stops a process as a debugger or a suspended machine does: it lives, and does nothing.
pub fn stop(pid: u32) -> Result<()> {
    signal("STOP", pid)
}

/// Wakes a stopped process.
pub fn cont(pid: u32) -> Result<()> {
    signal("CONT", pid)
}

/// The shell's own `kill`: std has no signals, and not every container has the program.
pub(crate) fn signal(name: &str, pid: u32) -> Result<()> {
    send(name, &pid.to_string())
}

fn send(name: &str, whom: &str) -> Result<()> {
    command::run(Command::new("sh").args(["-c", "kill -s \"$0\" -- \"$1\"", name, whom])).map(|_| ())
}

/// A process with all it starts: killed on drop, and when this process is gone, however it went.
#[derive(Debug)]
pub struct Child {
    child: process::Child,
    /// Waits on a pipe from this process, then kills the group, of which it is one.
    watchdog: process::Child,
}

impl Child {
    /// Starts the command as the head of a process group of its own.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut child = command.process_group(0).spawn()?;
        let watchdog = Command::new("sh")
            .args(["-c", "trap '' HUP INT TERM; read -r _; kill -s KILL -- \"-$0\"", &child.id().to_string()])
            // As long as the watchdog lives, the number of the group is nobody else's, even after the process was
            // waited for. If it is stopped with the group, the kernel wakes it when this process is gone.
            .process_group(i32::try_from(child.id()).expect("the kernel counts in i32"))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match watchdog {
            Ok(watchdog) => Ok(Self { child, watchdog }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error)
            }
        }
    }

    /// The process, which is also the number of its group.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process as std knows it, for its pipes and its end.
    pub fn std(&mut self) -> &mut process::Child {
        &mut self.child
    }

    /// Stops the whole group.
    pub fn stop(&self) -> Result<()> {
        send("STOP", &self.group())
    }

    /// Wakes the whole group.
    pub fn cont(&self) -> Result<()> {
        send("CONT", &self.group())
    }

    /// Kills the whole group and waits for the process.
    pub fn kill9(&mut self) -> Result<ExitStatus> {
        self.kill_group()?;
        self.child.wait().map_err(|error| crate::Error::new(format!("failed to wait for {}: {error}", self.pid())))
    }

    fn kill_group(&mut self) -> Result<()> {
        // Without the watchdog there is no group any more, or it is somebody else's.
        let is_there = matches!(self.watchdog.try_wait(), Ok(None));
        if is_there { send("KILL", &self.group()) } else { Ok(()) }
    }

    fn group(&self) -> String {
        format!("-{}", self.child.id())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Nothing is left to tell whom about a failure; the group is gone in any case but that of a missing shell.
        let _ = self.kill_group();
        let _ = self.watchdog.wait();
        let _ = self.child.wait();
    }
}
