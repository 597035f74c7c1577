//! What a process costs, as Linux tells it in `/proc`: CPU time and resident memory; and which
//! process listens on an address.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::ops::{Add, Sub};
use std::path::Path;
use std::time::Duration;

/// How far the scheduler's account and the one in ticks may lie apart: two ticks of 100 Hz at each end.
/// Beyond it a thread has ended and taken its part of the scheduler's account along.
const MAX_APART: Duration = Duration::from_millis(40);

/// CPU time of a process and all of its threads, in ticks of 10 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cpu {
    pub(super) user: Duration,
    pub(super) system: Duration,
    /// Both together as the scheduler counts them, in nanoseconds, for the threads that live.
    exact: Duration,
}

impl Cpu {
    pub(super) fn new(user: Duration, system: Duration) -> Self {
        let exact = user + system;
        Self {
            user,
            system,
            exact,
        }
    }

    /// To the nanosecond where that is known.
    pub(super) fn total(self) -> Duration {
        let ticks = self.user + self.system;
        if self.exact.abs_diff(ticks) <= MAX_APART {
            self.exact
        } else {
            ticks
        }
    }
}

impl Add for Cpu {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            user: self.user + other.user,
            system: self.system + other.system,
            exact: self.exact + other.exact,
        }
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
            exact: self.exact.saturating_sub(earlier.exact),
        }
    }
}

/// The processes of a server; none when it runs elsewhere or belongs to another user.
#[derive(Clone, Debug, Default)]
pub(super) struct Processes(Vec<u32>);

impl Processes {
    pub(super) fn new(pids: Vec<u32>) -> Self {
        Self(pids)
    }

    /// The processes that listen on `address`, where that is on this machine.
    pub(super) fn listening_on(address: SocketAddr) -> Self {
        const LISTEN: &str = "0A";
        Self::with_sockets(["/proc/net/tcp", "/proc/net/tcp6"], address, LISTEN)
    }

    /// The processes that receive datagrams at `address`, where that is on this machine.
    pub(super) fn receiving_on(address: SocketAddr) -> Self {
        const UNCONNECTED: &str = "07";
        Self::with_sockets(["/proc/net/udp", "/proc/net/udp6"], address, UNCONNECTED)
    }

    fn with_sockets(tables: [&str; 2], address: SocketAddr, state: &str) -> Self {
        // Only an address of this machine can be bound to.
        if TcpListener::bind((address.ip(), 0)).is_err() {
            return Self::default();
        }
        let mut sockets = Vec::new();
        for table in tables {
            let text = fs::read_to_string(table).unwrap_or_default();
            sockets.extend(listeners(&text, address, state));
        }
        let links: Vec<String> = sockets.iter().map(|it| format!("socket:[{it}]")).collect();
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = processes
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| !links.is_empty() && has_open(*pid, &links));
        Self(pids.collect())
    }

    pub(super) fn pids(&self) -> &[u32] {
        &self.0
    }

    /// For people, who see by it whether the right server is measured: `42 (roomwire)`.
    pub(super) fn names(&self) -> String {
        let name = |pid: &u32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let printable = name.chars().filter(|c| !c.is_control());
            format!("{pid} ({})", printable.collect::<String>())
        };
        let names: Vec<String> = self.0.iter().map(name).collect();
        names.join(", ")
    }

    /// CPU time of all of them; `None` without a process, or when one has ended.
    pub(super) fn cpu(&self) -> Option<Cpu> {
        let mut sum = Cpu::default();
        for pid in &self.0 {
            sum = sum + cpu_of(&format!("/proc/{pid}")).ok()?;
        }
        (!self.0.is_empty()).then_some(sum)
    }

    /// Resident memory of all of them in bytes.
    pub(super) fn memory(&self) -> Option<u64> {
        let mut sum = 0;
        for pid in &self.0 {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            sum += resident(&status)?;
        }
        (!self.0.is_empty()).then_some(sum)
    }
}

/// CPU time of this process.
pub(super) fn own_cpu() -> Cpu {
    cpu_of("/proc/self").unwrap_or_default()
}

fn cpu_of(process: &str) -> io::Result<Cpu> {
    let text = fs::read_to_string(format!("{process}/stat"))?;
    let ticks = rustix::param::clock_ticks_per_second();
    let cpu = parse_stat(&text, ticks).ok_or(io::ErrorKind::InvalidData)?;
    let exact = exact_of(process).unwrap_or_else(|_| cpu.total());
    Ok(Cpu { exact, ..cpu })
}

/// What the scheduler has counted for the threads of a process. Kernels may be built without it.
fn exact_of(process: &str) -> io::Result<Duration> {
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir(format!("{process}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        sum += parse_schedstat(&text).ok_or(io::ErrorKind::InvalidData)?;
    }
    Ok(sum)
}

/// proc(5): the first field is the time on a CPU in nanoseconds.
fn parse_schedstat(text: &str) -> Option<Duration> {
    let nanoseconds = text.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

/// proc(5): fields 14 and 15 are user and system time in ticks. The second field is a name in
/// parentheses, which may hold anything.
fn parse_stat(text: &str, ticks_per_second: u64) -> Option<Cpu> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11);
    let mut time = || {
        let ticks: u64 = times.next()?.parse().ok()?;
        let nanoseconds = ticks.saturating_mul(1_000_000_000) / ticks_per_second.max(1);
        Some(Duration::from_nanos(nanoseconds))
    };
    Some(Cpu::new(time()?, time()?))
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn has_open(pid: u32, links: &[String]) -> bool {
    let files = fs::read_dir(format!("/proc/{pid}/fd"));
    files.into_iter().flatten().flatten().any(|file| {
        let link = fs::read_link(file.path());
        link.is_ok_and(|link| links.iter().any(|it| Path::new(it) == link))
    })
}

/// The inodes of the sockets of a table (`/proc/net/tcp` and its like) that are bound to `address` and in
/// this state.
fn listeners(table: &str, address: SocketAddr, state: &str) -> Vec<u64> {
    let sockets = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (ip, port) = fields.get(1)?.split_once(':')?;
        let is_listening = *fields.get(3)? == state;
        let ip = parse_ip(ip)?;
        let is_here = ip == address.ip() || ip.is_unspecified();
        let is_port = u16::from_str_radix(port, 16).ok()? == address.port();
        (is_listening && is_here && is_port).then_some(fields.get(9)?.parse().ok()?)
    });
    sockets.collect()
}

/// Words of 32 bits, each as its bytes lie in memory.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let word = |index: usize| {
        let digits = hex.get(index * 8..index * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    if hex.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let words = [word(0)?, word(1)?, word(2)?, word(3)?];
    let bytes: [u8; 16] = words.concat().try_into().ok()?;
    Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_a_name_that_looks_like_fields() {
        let stat = "42 (a) b) 1 2) S 1 42 42 0 -1 4194560 9 0 0 0 250 125 0 0 20 0 3 0 1 2 3";
        let cpu = parse_stat(stat, 100).expect("valid");
        assert_eq!(cpu.user, Duration::from_millis(2500));
        assert_eq!(cpu.total(), Duration::from_millis(3750));
        assert_eq!(parse_stat("42 (a) S 1", 100), None);
        assert_eq!(parse_stat("", 100), None);
    }

    #[test]
    fn the_exact_time_counts_unless_a_thread_took_its_part_along() {
        let milliseconds = Duration::from_millis;
        let nanoseconds = parse_schedstat("123456789 5 6\n").expect("valid");
        assert_eq!(nanoseconds, Duration::from_nanos(123_456_789));
        assert_eq!(parse_schedstat(""), None);
        let cpu = |ticks, exact| Cpu {
            exact,
            ..Cpu::new(milliseconds(ticks), Duration::ZERO)
        };
        let window = cpu(130, nanoseconds) - cpu(10, Duration::from_nanos(456_789));
        assert_eq!(window.total(), milliseconds(123));
        let ended = cpu(530, nanoseconds) - cpu(10, milliseconds(100));
        assert_eq!(ended.total(), milliseconds(520));
        let other = cpu(300, milliseconds(50)) - cpu(10, milliseconds(100));
        assert_eq!(other.total(), milliseconds(290));
    }

    #[test]
    fn resident_memory_is_read_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t  9 kB\nVmRSS:\t    2048 kB\n";
        assert_eq!(resident(status), Some(2 << 20));
        assert_eq!(resident("Name:\tx\n"), None);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn listeners_are_those_on_the_address_or_on_all() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 11 1\n\
            1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  0 0 12 1\n\
            2: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 13 1\n\
            3: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 14 1\n\
            4: 0200007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 15 1\n\
            5: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 16 1\n\
            6: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 17 1\n";
        let address = SocketAddr::from(([127, 0, 0, 1], 8080));
        assert_eq!(listeners(table, address, "0A"), [11, 13, 16, 17]);
    }

    #[test]
    fn this_process_is_found_by_its_socket_and_costs_something() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        let found = Processes::listening_on(address);
        assert_eq!(found.pids(), [std::process::id()]);
        assert!(
            found
                .names()
                .starts_with(&format!("{} (", std::process::id()))
        );
        assert!(found.memory().expect("it runs") > 1 << 20);
        assert!(found.cpu().is_some());
        drop(socket);
        assert!(Processes::listening_on(address).pids().is_empty());
        assert_eq!(Processes::default().cpu(), None);
    }
}
