//! Values that last: where they lie, that they grow there, and that their pages go with them.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use vault::{Fault, Policy, Vault, VaultError};

#[global_allocator]
static ALLOCATOR: vault::Allocator = vault::Allocator;

/// Whether an address lies in a mapping that this process may not show (`memfd:secretmem`).
fn is_secret(address: usize) -> bool {
    if cfg!(miri) {
        // It has no such pages.
        return true;
    }
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().any(|line| {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let at = |hex| usize::from_str_radix(hex, 16).unwrap();
        line.contains("secretmem") && (at(from)..at(to)).contains(&address)
    })
}

struct Session {
    buffer: Vec<u8>,
    more: Vec<std::rc::Rc<u64>>,
}

#[test]
fn a_value_and_what_it_allocates_later_lie_in_secret_pages_until_it_goes() {
    let vault = Vault::open(Policy::Strict).unwrap();
    let (mut region, store) = (vault.region().unwrap(), vault.store());
    let before = vault.status().locked_bytes;
    let mut kept = region
        .run(|i| {
            store.keep(i.secrets, 64 * 1024, || {
                Ok::<_, VaultError>(Session { buffer: vec![7; 100], more: Vec::new() })
            })
        })
        .unwrap()
        .unwrap();
    assert!(vault.status().locked_bytes > before);
    region
        .run(|i| {
            kept.with(i.secrets, |session| {
                session.buffer.extend_from_slice(&[8; 20_000]);
                session.more.extend((0..100).map(Into::into));
            })
        })
        .unwrap()
        .unwrap();
    let places =
        kept.io(|s| [s.buffer.as_ptr() as usize, s.more.as_ptr() as usize, &raw const *s.more[99] as usize]);
    assert!(places.into_iter().all(is_secret), "{places:x?}");
    let seen = kept.io(|s| (s.buffer.len(), (s.buffer[0], s.buffer[20_099])));
    assert_eq!((seen, kept.io(|s| *s.more[99])), ((20_100, (7, 8)), 99));
    let status = vault.status();
    assert_eq!((status.escapes, status.spills), (0, 0), "nothing escaped into the region's heap");
    drop(kept);
    drop(store);
    assert_eq!(vault.status().locked_bytes, before, "its pages go with it");
}

#[test]
fn many_values_share_pages_and_more_are_mapped_when_those_are_full() {
    let vault = Vault::open(Policy::Strict).unwrap();
    let (mut region, store) = (vault.region().unwrap(), vault.store());
    let mut make = |n: u8| {
        region
            .run(|i| store.keep(i.secrets, 100_000, || Ok::<_, VaultError>(vec![n; 90_000])))
            .unwrap()
            .unwrap()
    };
    let mut all: Vec<_> = (0..20).map(&mut make).collect();
    assert_eq!(format!("{store:?}"), "Store(3 pieces)");
    // Miri takes its time.
    let each = if cfg!(miri) { 1000 } else { 1 };
    let holds = |v: &Vec<u8>, n| v.iter().step_by(each).all(|b| *b == n as u8);
    assert!(all.iter_mut().enumerate().all(|(n, kept)| kept.io(|v| holds(v, n))));
    all.truncate(1);
    let _next = make(21);
    all.push(make(22));
    assert!(all.iter_mut().all(|k| is_secret(k.io(|v| v.as_ptr() as usize))));
}

#[test]
fn a_value_that_grows_beyond_its_pages_is_told_and_counted() {
    let vault = Vault::open(Policy::Strict).unwrap();
    let (mut region, store) = (vault.region().unwrap(), vault.store());
    let mut kept = region
        .run(|i| store.keep(i.secrets, 1000, || Ok::<_, VaultError>(Vec::<u8>::new())))
        .unwrap()
        .unwrap();
    let grown = region.run(|i| kept.with(i.secrets, |v| v.resize(2 << 20, 1))).unwrap();
    assert_eq!(grown, Err(Fault::Full));
    assert_eq!(vault.status().spills, 1);
}
