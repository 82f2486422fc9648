//! Which packets were here already (RFC 3711 §3.3.2).

/// Indexes that are looked back upon.
const SIZE: u64 = 128;

/// The last indexes. Empty at first: any is new.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window {
    /// One more than the highest index; 0: none yet.
    end: u64,
    /// A bit for each of the last, lowest bit the highest index.
    seen: u128,
}

impl Window {
    /// Whether it was not here, and is not too old to tell.
    pub(super) fn is_new(&self, index: u64) -> bool {
        match self.end.checked_sub(index + 1) {
            None => true,
            Some(back) => back < SIZE && self.seen & 1 << back == 0,
        }
    }

    /// It is here now. Only for what is authentic.
    pub(super) fn take(&mut self, index: u64) {
        if index >= self.end {
            let ahead = index + 1 - self.end;
            self.seen = if ahead < SIZE { self.seen << ahead | 1 } else { 1 };
            self.end = index + 1;
        } else {
            let back = self.end - 1 - index;
            if back < SIZE {
                self.seen |= 1 << back;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_index_is_new_once_and_old_ones_never() {
        let mut window = Window::default();
        for index in [0, 5, 3, 200, 199, 73] {
            assert!(window.is_new(index), "{index}");
            window.take(index);
            assert!(!window.is_new(index), "{index}");
        }
        assert!(!window.is_new(72), "127 back is the last that can be told");
        assert!(window.is_new(201) && window.is_new(74) && !window.is_new(0));
        window.take(1 << 40);
        assert!(!window.is_new(200) && window.is_new((1 << 40) - 1));
    }
}
