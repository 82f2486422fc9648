//! Memory that is there when a tick comes to it: a hint to the processor what will be needed soon, since a tick comes to each leg's memory once in
//! 20 ms, when it lies far away; and new memory written to once, so that no tick is the first and waits for the system's page.
#![allow(unsafe_code)]

const LINE: usize = 64;

/// Has the first `most` bytes of a value brought near. Changes nothing.
#[inline]
pub(crate) fn prefetch<T: ?Sized>(value: &T, most: usize) {
    let (at, len) = (std::ptr::from_ref(value).cast::<u8>(), size_of_val(value).min(most));
    #[cfg(target_arch = "x86_64")]
    for offset in (0..len).step_by(LINE) {
        // SAFETY: a hint; the address lies within the value.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.add(offset).cast())
        };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, len, LINE);
}

const PAGE: usize = 4096;

/// Writes to each page of new memory.
pub(crate) fn touch<T: Copy + Default>(values: &mut [T]) {
    for page in values.chunks_mut(PAGE / size_of::<T>()) {
        // Nobody can know that this is what is there already.
        page[0] = std::hint::black_box(T::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_within_the_value_whatever_is_asked() {
        prefetch(&[0u8; 0][..], usize::MAX);
        for len in [1, LINE - 1, LINE, LINE + 1, 10 * LINE] {
            let values = vec![7u8; len];
            for most in [0, 1, LINE, LINE + 1, usize::MAX] {
                prefetch(&values[..], most);
            }
            assert!(values.iter().all(|v| *v == 7));
        }
        prefetch(&0u64, usize::MAX);
    }

    #[test]
    fn new_memory_that_was_touched_is_as_it_was() {
        touch::<u8>(&mut []);
        for len in [1, PAGE / 2, PAGE, PAGE + 1, 3 * PAGE] {
            let mut samples = vec![0i16; len];
            touch(&mut samples);
            assert!(samples.iter().all(|s| *s == 0));
        }
    }
}
