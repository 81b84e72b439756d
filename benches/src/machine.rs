//! What the machine says about processes: processor time, memory, binding to processors, limits.
//!
//! Processor time and memory come from `/proc`, so only Linux has them; elsewhere they are errors.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A process and all its descendants, found anew at each call: servers fork workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessTree {
    root: u32,
}

/// Resident memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// `VmRSS` of all processes; what they share counts once for each.
    pub rss: u64,
    /// `Pss`: what processes share is divided among them. Zero where it may not be read.
    pub pss: u64,
}

impl ProcessTree {
    /// The process `root` and what it started.
    pub fn new(root: u32) -> ProcessTree {
        ProcessTree { root }
    }

    /// The processes now alive, the root first.
    ///
    /// # Errors
    /// When `/proc` cannot be listed.
    pub fn processes(&self) -> io::Result<Vec<u32>> {
        let mut parents = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else {
                continue;
            };
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if let Some(parent) = parent(&stat) {
                parents.push((pid, parent));
            }
        }
        let mut found = vec![self.root];
        let mut next = 0;
        while let Some(&pid) = found.get(next) {
            found.extend(
                parents
                    .iter()
                    .filter(|(_, parent)| *parent == pid)
                    .map(|(pid, _)| *pid),
            );
            next += 1;
        }
        Ok(found)
    }

    /// Processor time spent so far, user and system, in nanoseconds of resolution. Threads that
    /// ended are not in it: differences are right only while the set of threads stays.
    ///
    /// # Errors
    /// When the root process is gone, or the system does not tell.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        let mut nanos = 0;
        for pid in self.processes()? {
            match tasks_nanos(pid) {
                Ok(more) => nanos += more,
                Err(error) if pid == self.root => return Err(error),
                Err(_) => {} // ended meanwhile
            }
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Resident memory now.
    ///
    /// # Errors
    /// When the root process is gone, or the system does not tell.
    pub fn memory(&self) -> io::Result<Memory> {
        let mut memory = Memory::default();
        for pid in self.processes()? {
            match fs::read_to_string(format!("/proc/{pid}/status")) {
                Ok(status) => memory.rss += kilobytes(&status, "VmRSS:") * 1024,
                Err(error) if pid == self.root => return Err(error),
                Err(_) => continue,
            }
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
            memory.pss += kilobytes(&rollup.unwrap_or_default(), "Pss:") * 1024;
        }
        Ok(memory)
    }
}

/// Processor time that all processes of the machine spent so far, interrupts included; in steps of
/// a clock tick (usually 10 ms).
///
/// # Errors
/// When the system does not tell.
pub fn busy_time() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let ticks = busy_ticks(&stat).ok_or(io::ErrorKind::InvalidData)?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64(
        ticks as f64 / per_second.max(1) as f64,
    ))
}

/// Binds the calling thread, and all threads and processes it starts later, to processor `cpu`.
///
/// # Errors
/// When there is no such processor, or the system has no such call.
pub fn pin_thread(cpu: usize) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::thread::{CpuSet, sched_setaffinity};
        if cpu >= CpuSet::MAX_CPU {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut set = CpuSet::new();
        set.set(cpu);
        Ok(sched_setaffinity(None, &set)?)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = cpu;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Raises the limit of open files of this process and those it starts, to `files` where the system
/// allows it, else as far as it goes; gives the limit that now holds.
///
/// # Errors
/// When even the soft limit cannot be changed.
pub fn raise_open_files(files: u64) -> io::Result<u64> {
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|current| current >= files) {
        return Ok(now.current.unwrap_or(u64::MAX));
    }
    let hard = now.maximum.unwrap_or(u64::MAX);
    let wanted = Rlimit {
        current: Some(files),
        maximum: Some(hard.max(files)),
    };
    if setrlimit(Resource::Nofile, wanted).is_ok() {
        return Ok(files);
    }
    let allowed = hard.min(files);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(allowed),
            maximum: now.maximum,
        },
    )?;
    Ok(allowed)
}

/// The parent in a `stat` line; the name before it may contain anything, also parentheses.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// The sum of user, nice, system, irq and softirq: not of idle and waiting, nor of what others
/// stole.
fn busy_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_ascii_whitespace();
    [0, 0, 0, 2, 0]
        .into_iter()
        .map(|skip| fields.nth(skip)?.parse::<u64>().ok())
        .sum()
}

fn tasks_nanos(pid: u32) -> io::Result<u64> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        nanos += text
            .split(' ')
            .next()
            .and_then(|first| first.parse::<u64>().ok())
            .unwrap_or(0);
    }
    Ok(nanos)
}

fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or_default()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn own_process_has_time_and_memory() {
        let tree = ProcessTree::new(std::process::id());
        assert_eq!(tree.processes().unwrap().first(), Some(&std::process::id()));
        let before = tree.cpu_time().unwrap();
        let mut work = 0u64;
        while tree.cpu_time().unwrap() == before {
            work = work.wrapping_add(1);
        }
        assert!(tree.memory().unwrap().rss > 1024 * 1024);
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(ProcessTree::new(u32::MAX).cpu_time().is_err());
        assert!(ProcessTree::new(u32::MAX).memory().is_err());
    }

    #[test]
    fn the_parent_is_read_behind_any_name() {
        assert_eq!(parent("12 (a) (b c) S 7 12 12 0"), Some(7));
        assert_eq!(parent(""), None);
        assert_eq!(kilobytes("VmRSS:\t    1234 kB\nPss: 1 kB", "VmRSS:"), 1234);
        assert_eq!(kilobytes("", "VmRSS:"), 0);
    }

    #[test]
    fn busy_is_all_but_idle_and_stolen() {
        assert_eq!(
            busy_ticks("cpu  100 20 3 5000 700 1 1000 90 0 0\ncpu0 1"),
            Some(1124)
        );
        assert_eq!(busy_ticks("cpu  100 20"), None);
        assert!(busy_time().unwrap() > Duration::ZERO);
    }

    #[test]
    fn limits_only_rise() {
        let now = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert_eq!(raise_open_files(1).unwrap(), now);
    }
}
