//! The region's rules, with the allocator in place as in the product.
#![allow(missing_docs, unsafe_code, clippy::unwrap_used, clippy::expect_used)]

use vault::opener::ViewerSecret;
use vault::{
    Context, Extent, Fault, Field, OwnName, Policy, Region, Roster, Sealed, Signalling, SignallingText,
    Tampered, Vault, VaultError, ViewerKey,
};

#[global_allocator]
static ALLOCATOR: vault::Allocator = vault::Allocator;

const HERE: Context = Context { scope: 0, subject: 1, field: Field::Echo };

fn vault() -> Vault {
    Vault::open(Policy::Strict).expect("memfd_secret works here")
}

fn receive(region: &mut Region, text: &[u8]) {
    region
        .receive(|buffer| {
            buffer[..text.len()].copy_from_slice(text);
            Ok((text.len(), ()))
        })
        .unwrap();
}

#[test]
fn a_sealed_value_opens_only_in_its_own_place() {
    let vault = vault();
    let (ring, other) = (vault.keyring().unwrap(), vault.keyring().unwrap());
    let mut region = vault.region().unwrap();
    receive(&mut region, b"Via: fictional");
    let sealed: Sealed<SignallingText> =
        region.run(|inside| inside.secrets.seal(&ring, HERE, inside.rx)).unwrap();
    let opens = |region: &mut Region, ring, context| {
        region
            .run(|i| i.secrets.open(ring, context, &sealed, Signalling).map_or(0, |p| p.bytes().len()))
            .unwrap()
    };
    assert_eq!(opens(&mut region, &ring, HERE), 14);
    assert_eq!(opens(&mut region, &other, HERE), 0, "another key");
    for elsewhere in [
        Context { scope: 9, ..HERE },
        Context { subject: 2, ..HERE },
        Context { field: Field::Dialog, ..HERE },
    ] {
        assert_eq!(opens(&mut region, &ring, elsewhere), 0, "{elsewhere:?}");
    }
}

#[test]
fn equal_texts_seal_differently_and_index_equally() {
    let vault = vault();
    let ring = vault.keyring().unwrap();
    let (key, other) = (vault.index_key().unwrap(), vault.index_key().unwrap());
    let mut region = vault.region().unwrap();
    let same = region
        .run(|i| {
            let a: Sealed<SignallingText> = i.secrets.seal(&ring, HERE, b"same");
            let b: Sealed<SignallingText> = i.secrets.seal(&ring, HERE, b"same");
            format!("{a:?}") == format!("{b:?}")
        })
        .unwrap();
    assert!(same, "Debug shows the length only");
    let index = |region: &mut Region, key, parts: [&'static [u8]; 2]| {
        region.run(|i| i.secrets.index(key, &parts)).unwrap()
    };
    assert_eq!(index(&mut region, &key, [b"ab", b"c"]), index(&mut region, &key, [b"ab", b"c"]));
    assert_ne!(index(&mut region, &key, [b"ab", b"c"]), index(&mut region, &key, [b"a", b"bc"]));
    assert_ne!(index(&mut region, &key, [b"ab", b"c"]), index(&mut region, &other, [b"ab", b"c"]));
}

#[test]
fn adoption_changes_key_and_place() {
    let vault = vault();
    let (call, conference) = (vault.keyring().unwrap(), vault.keyring().unwrap());
    let there = Context { scope: 7, subject: 3, field: Field::Name };
    let own: Sealed<OwnName> =
        vault.region().unwrap().run(|i| i.secrets.seal(&call, HERE, "Zoë Example".as_bytes())).unwrap();
    assert_eq!(own.adopt(&conference, HERE, &conference, there).unwrap_err(), Tampered);
    let moved = own.adopt(&call, HERE, &conference, there).unwrap();
    // Only a viewer's key opens it.
    let secret = ViewerSecret::generate().unwrap();
    let (key, handover) = ViewerKey::new(&vault, "k_1", &secret.public()).unwrap();
    let content = secret.take(&handover).unwrap();
    let jwe = key.disclose(&moved, &conference, there, Extent::Whole, Roster).unwrap();
    assert_eq!(content.open(&jwe).unwrap(), "Zoë Example");
    assert_eq!(key.disclose(&moved, &conference, HERE, Extent::Whole, Roster), Err(Tampered));
}

#[test]
fn what_was_received_and_composed_is_wiped_on_leaving() {
    let vault = vault();
    let mut region = vault.region().unwrap();
    receive(&mut region, b"From: fictional");
    region.run(|i| i.tx[..4].copy_from_slice(b"text")).unwrap();
    region.composed(4);
    assert_eq!(region.transmit(<[u8]>::to_vec), b"text");
    region.composed(4);
    assert_eq!(region.transmit(<[u8]>::to_vec), [0; 4], "the send buffer");
    let (_, seen) = region.receive(|buffer| Ok((0, buffer[..15].to_vec()))).unwrap();
    assert_eq!(seen, [0; 15], "the receive buffer");
}

#[test]
fn heap_and_stack_of_a_region_are_secret_and_wiped() {
    let vault = vault();
    assert!(vault.status().scoped_heap);
    let mut region = vault.region().unwrap();
    let (heap, stack) = region
        .run(|_| {
            let on_stack = std::hint::black_box(*b"fictional caller");
            let on_heap = std::hint::black_box(Box::new(on_stack));
            (std::ptr::from_ref(&*on_heap) as usize, std::ptr::from_ref(&on_stack) as usize)
        })
        .unwrap();
    for at in [heap, stack] {
        // SAFETY: the region is alive and its heap and stack are mapped for its life.
        let now = unsafe { std::ptr::read_volatile(at as *const [u8; 16]) };
        assert_ne!(&now, b"fictional caller");
        use std::os::unix::fs::FileExt;
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        assert!(memory.read_exact_at(&mut [0; 16], at as u64).is_err(), "readable by a debugger");
    }
}

#[test]
fn deep_stack_use_is_wiped_too() {
    #[inline(never)]
    fn deep(levels: usize) -> usize {
        let frame = std::hint::black_box([0x5au8; 1024]);
        if levels == 0 {
            std::ptr::from_ref(&frame) as usize
        } else {
            deep(levels - 1).min(frame.len() + (1 << 60))
        }
    }
    let vault = vault();
    let mut region = vault.region().unwrap();
    let at = region.run(|_| deep(30)).unwrap();
    // SAFETY: inside the living region's stack.
    let now = unsafe { std::ptr::read_volatile(at as *const [u8; 1024]) };
    assert_eq!(now, [0; 1024]);
}

/// A frame far below one of which nothing was written: beyond two pages of nothing.
#[inline(never)]
fn beyond_a_hole() -> usize {
    #[inline(never)]
    fn below() -> usize {
        let frame = std::hint::black_box([0x5au8; 1024]);
        std::ptr::from_ref(&frame) as usize
    }
    let hole = std::mem::MaybeUninit::<[u8; 20_000]>::uninit();
    let at = below();
    std::hint::black_box(&hole);
    at
}

#[test]
fn what_a_deep_call_left_beyond_a_hole_is_wiped_at_once_where_others_can_read_it_and_soon_elsewhere() {
    let left = |at: usize| {
        // SAFETY: inside the living region's stack.
        unsafe { std::ptr::read_volatile(at as *const [u8; 1024]) }.iter().any(|b| *b != 0)
    };
    let vault = Vault::open(Policy::OnlyLocked).unwrap();
    let mut region = vault.region().unwrap();
    let at = region.run(|_| beyond_a_hole()).unwrap();
    assert!(!left(at), "readable pages");
    let vault = crate::vault();
    let mut region = vault.region().unwrap();
    let at = region.run(|_| beyond_a_hole()).unwrap();
    assert!(left(at), "the control: it is beyond the hole");
    (0..256).for_each(|_| region.run(|_| ()).unwrap());
    assert!(!left(at), "pages that nobody else reads");
}

#[test]
fn a_panic_inside_is_caught_and_the_region_works_on() {
    vault::harden().unwrap();
    let vault = vault();
    let mut region = vault.region().unwrap();
    receive(&mut region, b"fictional");
    let result: Result<(), Fault> =
        region.run(|inside| panic!("quotes {}", String::from_utf8_lossy(inside.rx)));
    assert_eq!(result, Err(Fault::Panicked));
    assert_eq!(region.run(|_| 7u8), Ok(7));
    assert_eq!(vault.status().panics, 1);
}

#[test]
fn blocks_of_a_region_keep_their_content_however_they_grow_and_where_they_lie() {
    let vault = vault();
    let mut region = vault.region().unwrap();
    // Miri takes its time.
    let many = if cfg!(miri) { 300 } else { 15_000 };
    for _ in 0..3 {
        // Two that grow by turns move; one that grows alone does not have to. All together they are more than the heap's first part.
        let right = region.run(|_| {
            let (mut one, mut two) = (Vec::new(), Vec::new());
            for n in 0..many {
                one.push(n);
                two.push(!n);
            }
            let mut alone: Vec<u32> = Vec::with_capacity(1);
            alone.extend(0..many / 3);
            alone.truncate(7);
            alone.shrink_to_fit();
            let zeros = vec![0u8; 3_000];
            one.iter().zip(&two).enumerate().all(|(n, (a, b))| *a == n as u32 && *b == !*a)
                && alone == [0, 1, 2, 3, 4, 5, 6]
                && zeros.iter().all(|b| *b == 0)
        });
        assert_eq!(right, Ok(true));
    }
    let status = vault.status();
    assert_eq!((status.escapes, status.spills), (0, 0));
}

#[test]
fn after_an_escape_each_block_is_wiped_when_it_is_freed() {
    let vault = vault();
    let mut region = vault.region().unwrap();
    let mut kept = Vec::new();
    region.run(|_| kept.extend_from_slice(b"kept by mistake")).unwrap();
    let at = region.run(|_| std::ptr::from_ref(&*Box::new(*b"fictional caller")) as usize).unwrap();
    // SAFETY: the region is alive, and its heap mapped for its life. A pool's own link lies in a freed block's first half.
    let now = unsafe { std::ptr::read_volatile((at + 8) as *const [u8; 8]) };
    assert_ne!(&now, b"l caller");
    let was = kept.as_ptr() as usize;
    drop(kept);
    // SAFETY: as above.
    assert_eq!(unsafe { std::ptr::read_volatile(was as *const [u8; 15]) }, [0; 15]);
}

#[test]
fn a_full_region_refuses_and_does_not_abort() {
    let vault = vault();
    let mut region = vault.region().unwrap();
    let result = region.run(|_| std::hint::black_box(vec![1u8; 4 << 20]).len());
    assert_eq!(result, Err(Fault::Full));
    assert_eq!(region.run(|_| std::hint::black_box(vec![1u8; 1000]).len()), Ok(1000));
}

#[test]
fn an_escaped_block_is_counted_and_stays_valid_and_secret() {
    let vault = vault();
    let mut region = vault.region().unwrap();
    let mut kept = Vec::new();
    region.run(|_| kept.extend_from_slice(b"kept by mistake")).unwrap();
    assert_eq!(kept, b"kept by mistake");
    assert_eq!(vault.status().escapes, 1);
    drop(region);
    assert_eq!(kept, b"kept by mistake", "still valid after the region has gone");
    drop(kept);
}

#[test]
fn lists_leave_by_moving_to_the_ordinary_heap() {
    vault::leaves! { #[derive(Debug)] struct Row { n: u32 } }
    let vault = vault();
    let mut region = vault.region().unwrap();
    let rows = region.run(|_| (0..100).map(|n| Row { n }).collect::<Vec<_>>()).unwrap();
    drop(region);
    assert_eq!(rows.iter().map(|r| r.n).sum::<u32>(), 4950);
    assert_eq!(vault.status().escapes, 0);
}

#[test]
fn without_protected_memory_the_vault_refuses_to_open() {
    const CHILD: &str = "SOTTO_TEST_WITHOUT_LOCKED_MEMORY";
    if std::env::var_os(CHILD).is_some() {
        return refusal_without_locked_memory();
    }
    // In a process of its own: the limit cannot be raised again.
    let status = std::process::Command::new("/proc/self/exe")
        .args(["--exact", "without_protected_memory_the_vault_refuses_to_open"])
        .env(CHILD, "1")
        .status()
        .unwrap();
    assert!(status.success());
}

fn refusal_without_locked_memory() {
    #[repr(C)]
    struct Header(u32, i32);
    unsafe extern "C" {
        fn capset(header: *mut Header, data: *const [u32; 6]) -> i32;
        fn setrlimit(which: i32, limit: *const [u64; 2]) -> i32;
    }
    // SAFETY: plain system calls: no locked memory, and (version 3) no capability to lock nevertheless. The
    // capabilities are this thread's, which is the one that asks.
    unsafe {
        assert_eq!(setrlimit(8, &[0, 0]), 0);
        assert_eq!(capset(&mut Header(0x2008_0522, 0), &[0; 6]), 0);
    }
    for policy in [Policy::Strict, Policy::AllowWeaker, Policy::OnlyLocked] {
        assert!(matches!(Vault::open(policy), Err(VaultError::TooWeak(_))), "{policy:?}");
    }
}
