//! A process's memory image as root can read it: every mapping, every thread's registers, every open file.

use std::fs::File;
use std::io::{Error, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A piece of an image.
pub struct Piece {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// All that could be read, and what could not, with the reason and its size in bytes.
#[derive(Default)]
pub struct Image {
    pub pieces: Vec<Piece>,
    pub unread: Vec<(String, String, usize)>,
    /// Bytes of mappings in which there are only zeros.
    pub zeros: usize,
}

const PAGE: usize = 4096;
const CHUNK: usize = 64 * PAGE;

impl Image {
    /// Stops all threads of a process, takes its image, and lets it go on.
    pub fn take(pid: u32) -> std::io::Result<Self> {
        let stopped = Stopped::all(pid)?;
        let mut image = Self::default();
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        match &stopped {
            Stopped::Traced(threads) => threads.iter().for_each(|thread| image.traced(*thread, &maps)),
            Stopped::Signalled(_) => {
                threads(pid)?.iter().try_for_each(|thread| image.guarded(pid, *thread))?
            }
        }
        image.mappings(pid, &maps)?;
        drop(stopped);
        image.files(pid)?;
        Ok(image)
    }

    fn traced(&mut self, thread: i32, maps: &str) {
        let place = if is_inside(thread, maps) { INSIDE } else { "registers" };
        for (kind, name) in [(1, "general"), (2, "floating point"), (0x202, "extended state")] {
            match registers(thread, kind) {
                Ok(bytes) => self.pieces.push(Piece { name: format!("{place}: {name}"), bytes }),
                Err(e) => self.unread.push((format!("{place}: {name}"), e.to_string(), 0)),
            }
        }
    }

    /// What the kernel shows of a thread that somebody else traces: nothing by ptrace, and a few registers by procfs.
    fn guarded(&mut self, pid: u32, thread: i32) -> std::io::Result<()> {
        // SAFETY: a plain system call, on a thread of a child of ours.
        if unsafe { libc::ptrace(libc::PTRACE_SEIZE, thread, 0, 0) } == 0 {
            return Err(Error::other("a thread that was refused before can be traced"));
        }
        self.unread.push(("registers".into(), Error::last_os_error().to_string(), 0));
        // "running", or a system call's number, its arguments where there is one, stack pointer and program counter.
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/syscall"))?;
        let value = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
        let bytes = text.split_whitespace().filter_map(value).flat_map(u64::to_le_bytes).collect();
        self.pieces.push(Piece { name: "registers: arguments of a system call".into(), bytes });
        Ok(())
    }

    fn mappings(&mut self, pid: u32, maps: &str) -> std::io::Result<()> {
        let memory = File::open(format!("/proc/{pid}/mem"))?;
        for line in maps.lines() {
            let rights = line.split_whitespace().nth(1).unwrap_or_default();
            let name = line.split_whitespace().nth(5).unwrap_or("anonymous");
            let Range { start: from, end: to } = range(line);
            // What the process itself may not read, root may.
            self.mapping(&memory, &format!("{name} {rights}"), from, (to - from) as usize);
        }
        Ok(())
    }

    /// Reads a mapping page by page where it cannot be read whole: one page that cannot be read hides no other.
    fn mapping(&mut self, memory: &File, name: &str, from: u64, len: usize) {
        let mut bytes = vec![0; len];
        let mut refused = std::collections::BTreeMap::<String, usize>::new();
        for (n, chunk) in bytes.chunks_mut(CHUNK).enumerate() {
            let at = from + (n * CHUNK) as u64;
            if memory.read_exact_at(chunk, at).is_ok() {
                continue;
            }
            for (n, page) in chunk.chunks_mut(PAGE).enumerate() {
                if let Err(e) = memory.read_exact_at(page, at + (n * PAGE) as u64) {
                    *refused.entry(e.to_string()).or_default() += page.len();
                }
            }
        }
        let unread = refused.into_iter().map(|(why, bytes)| (name.to_owned(), why, bytes));
        self.unread.extend(unread);
        if bytes.chunks(PAGE).all(|page| page.iter().fold(0, |a, b| a | b) == 0) {
            self.zeros += len;
        } else {
            self.pieces.push(Piece { name: name.to_owned(), bytes });
        }
    }

    fn files(&mut self, pid: u32) -> std::io::Result<()> {
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
            let path = entry?.path();
            let Ok(target) = std::fs::read_link(&path) else { continue };
            // Sockets, pipes and event descriptors have no content of their own.
            if !target.is_absolute() || Path::new("/dev").starts_with(&target) || target.starts_with("/dev") {
                continue;
            }
            let mut bytes = Vec::new();
            let name = format!("file {}", target.file_name().unwrap_or_default().to_string_lossy());
            match File::open(&path).and_then(|mut f| f.read_to_end(&mut bytes)) {
                Ok(_) => self.pieces.push(Piece { name, bytes }),
                Err(e) => self.unread.push((name, e.to_string(), 0)),
            }
        }
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.zeros + self.pieces.iter().map(|p| p.bytes.len()).sum::<usize>()
    }
}

/// Registers of a thread that is working on a message inside the region when it is stopped: what it computes with is in them.
pub const INSIDE: &str = "registers inside the region";

/// The addresses of a line of `/proc/PID/maps`.
fn range(line: &str) -> Range<u64> {
    let bound = |text: &str| u64::from_str_radix(text, 16).expect("an address");
    let addresses = line.split(' ').next().and_then(|a| a.split_once('-')).expect("a range");
    bound(addresses.0)..bound(addresses.1)
}

/// Whether a stopped thread runs on a secret stack.
fn is_inside(thread: i32, maps: &str) -> bool {
    // `rsp` in `struct user_regs_struct`; elsewhere no thread is taken to be inside.
    const STACK_POINTER: Range<usize> = 19 * 8..20 * 8;
    let general = registers(thread, 1).unwrap_or_default();
    let at = general.get(STACK_POINTER).filter(|_| cfg!(target_arch = "x86_64"));
    let at = at.map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")));
    let secret = |line: &&str| line.contains("/secretmem");
    at.is_some_and(|at| maps.lines().filter(secret).any(|line| range(line).contains(&at)))
}

/// The numbers of a process's threads.
fn threads(pid: u32) -> std::io::Result<Vec<i32>> {
    let number = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().parse().expect("a number");
    std::fs::read_dir(format!("/proc/{pid}/task"))?.map(|entry| Ok(number(entry?))).collect()
}

/// A stopped process. It goes on when this is dropped.
enum Stopped {
    /// Its threads, traced by us.
    Traced(Vec<i32>),
    /// A process that somebody else traces: a signal stopped it.
    Signalled(i32),
}

impl Stopped {
    fn all(pid: u32) -> std::io::Result<Self> {
        let mut traced = Vec::new();
        // Threads may come while others are being stopped; none comes when all that there are stand still.
        loop {
            let new: Vec<_> = threads(pid)?.into_iter().filter(|t| !traced.contains(t)).collect();
            if new.is_empty() {
                return Ok(Self::Traced(traced));
            }
            for thread in new {
                // SAFETY: system calls on a thread of a child of ours.
                unsafe {
                    if libc::ptrace(libc::PTRACE_SEIZE, thread, 0, 0) != 0 {
                        return match traced.is_empty() {
                            true => Self::signalled(pid),
                            false => Err(Error::last_os_error()),
                        };
                    }
                    traced.push(thread);
                    if libc::ptrace(libc::PTRACE_INTERRUPT, thread, 0, 0) != 0
                        || libc::waitpid(thread, std::ptr::null_mut(), libc::__WALL) != thread
                    {
                        return Err(Error::last_os_error());
                    }
                }
            }
        }
    }

    fn signalled(pid: u32) -> std::io::Result<Self> {
        // SAFETY: a signal to a child of ours.
        if unsafe { libc::kill(pid.cast_signed(), libc::SIGSTOP) } != 0 {
            return Err(Error::last_os_error());
        }
        let stopped = Self::Signalled(pid.cast_signed());
        let begun = std::time::Instant::now();
        // Nothing tells of it but the state of each thread: the third word, after a name that ends with the last parenthesis.
        let stands = |thread: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/stat"))?;
            Ok::<_, Error>(stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['t', 'T'])))
        };
        while !threads(pid)?.iter().map(stands).collect::<Result<Vec<_>, _>>()?.into_iter().all(|s| s) {
            if begun.elapsed() > std::time::Duration::from_secs(10) {
                return Err(Error::other("a thread does not stop"));
            }
            std::thread::yield_now();
        }
        Ok(stopped)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // SAFETY: what we stopped goes on. A thread or process that has ended meanwhile needs nothing.
        unsafe {
            match self {
                Self::Traced(threads) => {
                    for thread in threads {
                        libc::ptrace(libc::PTRACE_DETACH, *thread, 0, 0);
                    }
                }
                Self::Signalled(process) => _ = libc::kill(*process, libc::SIGCONT),
            }
        }
    }
}

fn registers(thread: i32, kind: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0u8; 16 * 1024];
    let mut area = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: the area is ours and as long as it says; the kernel shortens it to what it wrote.
    if unsafe { libc::ptrace(libc::PTRACE_GETREGSET, thread, kind, &raw mut area) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    bytes.truncate(area.iov_len);
    Ok(bytes)
}

/// AES key schedules in an image: offsets where 240 bytes are the expansion (FIPS 197 §5.2) of their first 32, or 176 of their first 16.
pub fn aes_schedules(image: &[u8]) -> usize {
    let word = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().expect("four bytes"));
    let mut found = 0;
    for at in (0..image.len().saturating_sub(175)).step_by(4) {
        let w = |i: usize| word(at + 4 * i);
        let plain = (5..8).all(|i| w(i) == w(i - 4) ^ w(i - 1));
        if plain && w(4) != 0 && (4..44).all(|i| w(i) == w(i - 4) ^ turned_short(w(i - 1), i)) {
            found += 1;
        }
    }
    for at in (0..image.len().saturating_sub(239)).step_by(4) {
        let w = |i: usize| word(at + 4 * i);
        // Three of the words that are a plain XOR tell almost everything else apart.
        let plain = (9..12).all(|i| w(i) == w(i - 8) ^ w(i - 1));
        if plain && w(8) != 0 && (8..60).all(|i| w(i) == w(i - 8) ^ turned(w(i - 1), i)) {
            found += 1;
        }
    }
    found
}

fn substituted(word: u32) -> u32 {
    u32::from_le_bytes(word.to_le_bytes().map(s_box))
}

/// The same for keys of 128 bits.
fn turned_short(word: u32, i: usize) -> u32 {
    const ROUNDS: [u32; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 0x1b, 0x36];
    if i.is_multiple_of(4) { substituted(word.rotate_right(8)) ^ ROUNDS[i / 4 - 1] } else { word }
}

fn turned(word: u32, i: usize) -> u32 {
    match i % 8 {
        0 => substituted(word.rotate_right(8)) ^ (1 << (i / 8 - 1)),
        4 => substituted(word),
        _ => word,
    }
}

/// FIPS 197 §5.1.1: the inverse in GF(2⁸), then the affine map.
fn s_box(byte: u8) -> u8 {
    let times = |mut a: u8, mut b: u8| {
        let mut product = 0;
        while b != 0 {
            if b & 1 == 1 {
                product ^= a;
            }
            a = (a << 1) ^ if a & 0x80 != 0 { 0x1b } else { 0 };
            b >>= 1;
        }
        product
    };
    let inverse = (0..254).fold(1, |power, _| times(power, byte));
    (0..5).fold(0x63, |out, turn| out ^ inverse.rotate_left(turn))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page that its own process may not touch is read all the same, and pages beside secret ones are not passed over.
    #[test]
    fn what_a_process_may_not_read_itself_is_read() {
        // SAFETY: a plain system call.
        if unsafe { libc::geteuid() } != 0 {
            return;
        }
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: pages of our own; the middle one becomes secret, the last one unreadable.
        let at = unsafe {
            let at = libc::mmap(std::ptr::null_mut(), 3 * PAGE, rights, flags, -1, 0).cast::<u8>();
            at.write_bytes(0x11, 3 * PAGE);
            let secret = libc::syscall(libc::SYS_memfd_secret, 0) as i32;
            assert_eq!(libc::ftruncate(secret, PAGE as i64), 0);
            let shared = libc::MAP_SHARED | libc::MAP_FIXED;
            assert_ne!(libc::mmap(at.add(PAGE).cast(), PAGE, rights, shared, secret, 0), libc::MAP_FAILED);
            at.add(PAGE).write_bytes(0x22, PAGE);
            libc::mprotect(at.add(2 * PAGE).cast(), PAGE, libc::PROT_NONE);
            at
        };
        let mut image = Image::default();
        image.mapping(&File::open("/proc/self/mem").unwrap(), "test", at as u64, 3 * PAGE);
        let bytes = &image.pieces[0].bytes;
        let pages: Vec<_> = bytes.chunks(PAGE).map(|p| p[PAGE - 1]).collect();
        assert_eq!((pages, image.unread.len(), image.unread[0].2), (vec![0x11, 0, 0x11], 1, PAGE));
    }

    #[test]
    fn a_short_schedule_of_fips_197_is_found() {
        // FIPS 197, appendix A.1.
        let key: [u32; 4] = [0x2b7e_1516, 0x28ae_d2a6, 0xabf7_1588, 0x09cf_4f3c];
        let mut words: Vec<u32> = key.iter().map(|w| w.swap_bytes()).collect();
        for i in 4..44 {
            words.push(words[i - 4] ^ turned_short(words[i - 1], i));
        }
        assert_eq!(words[43].swap_bytes(), 0xb663_0ca6, "the last word of A.1");
        let mut image = vec![0xa5; 64];
        words.iter().for_each(|w| image.extend_from_slice(&w.to_le_bytes()));
        image.extend([0; 4096]);
        assert_eq!(aes_schedules(&image), 1);
        image[100] ^= 1;
        assert_eq!(aes_schedules(&image), 0);
    }

    #[test]
    fn the_schedule_of_fips_197_is_found_and_nothing_else() {
        // FIPS 197, appendix A.3.
        let key: [u32; 8] = [
            0x603d_eb10,
            0x15ca_71be,
            0x2b73_aef0,
            0x857d_7781,
            0x1f35_2c07,
            0x3b61_08d7,
            0x2d98_10a3,
            0x0914_dff4,
        ];
        let mut words: Vec<u32> = key.iter().map(|w| w.swap_bytes()).collect();
        for i in 8..60 {
            words.push(words[i - 8] ^ turned(words[i - 1], i));
        }
        assert_eq!(words[59].swap_bytes(), 0x706c_631e, "the last word of A.3");
        let mut image = vec![0xa5; 64];
        words.iter().for_each(|w| image.extend_from_slice(&w.to_le_bytes()));
        image.extend([0; 4096]);
        assert_eq!(aes_schedules(&image), 1);
        image[70] ^= 1;
        assert_eq!(aes_schedules(&image), 0);
    }
}
