//! What may leave a region: ciphertext, keyed indexes, numbers, addresses and enums. Never text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// Only [`Region::run`](crate::Region::run) can make one; it proves that the ordinary heap is in use.
#[derive(Debug, Clone, Copy)]
pub struct Leaving(());

impl Leaving {
    pub(crate) fn new() -> Self {
        Self(())
    }
}

/// A type that holds no readable identity and may be returned from a region.
///
/// `String`, `&str`, `Vec<u8>` and byte arrays are not `Leaves`, so text cannot be returned:
///
/// ```compile_fail
/// # use vault::*;
/// # let vault = Vault::open(Policy::Strict).unwrap();
/// let mut region = vault.region().unwrap();
/// let text: String = region.run(|inside| String::from_utf8_lossy(inside.rx).into_owned()).unwrap();
/// ```
///
/// nor can a borrow of the packet:
///
/// ```compile_fail
/// # use vault::*;
/// # let vault = Vault::open(Policy::Strict).unwrap();
/// let mut region = vault.region().unwrap();
/// let packet: &[u8] = region.run(|inside| &*inside.rx).unwrap();
/// ```
///
/// but a number can:
///
/// ```
/// # use vault::*;
/// # let vault = Vault::open(Policy::Strict).unwrap();
/// let mut region = vault.region().unwrap();
/// let bytes: usize = region.run(|inside| inside.rx.len()).unwrap();
/// # assert_eq!(bytes, 0);
/// ```
///
/// Implement it for a type of your own with [`leaves!`](crate::leaves!), which asks the same of every field.
pub trait Leaves: Sized {
    /// Moves what the value holds on the heap out of the region's heap. Called by the region, on leaving.
    #[must_use]
    fn leave(self, on: Leaving) -> Self;
}

/// A composite that may stand in a list. Bytes are not composites: a `Vec<u8>` could be text.
pub trait Composite: Leaves {}

macro_rules! plain {
    ($($t:ty),*) => { $(impl Leaves for $t {
        fn leave(self, _: Leaving) -> Self { self }
    })* };
}

plain!((), bool, u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, f32, f64);
plain!(std::io::ErrorKind);
plain!(IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, Duration, Instant);

impl<T: Composite> Composite for Option<T> {}
// Lengths.
impl Composite for usize {}
impl Composite for bool {}

impl<T: Leaves> Leaves for Option<T> {
    fn leave(self, on: Leaving) -> Self {
        self.map(|t| t.leave(on))
    }
}

impl<T: Leaves, E: Leaves> Leaves for Result<T, E> {
    fn leave(self, on: Leaving) -> Self {
        match self {
            Ok(t) => Ok(t.leave(on)),
            Err(e) => Err(e.leave(on)),
        }
    }
}

impl<T: Leaves, U: Leaves> Leaves for (T, U) {
    fn leave(self, on: Leaving) -> Self {
        (self.0.leave(on), self.1.leave(on))
    }
}

impl<T: Leaves> Leaves for Box<T> {
    fn leave(self, on: Leaving) -> Self {
        Box::new((*self).leave(on))
    }
}

impl<T: Leaves> Leaves for std::sync::Arc<T> {
    fn leave(self, on: Leaving) -> Self {
        // Shared with something that stayed inside: then it is a mistake of the closure, and a copy is not
        // possible; the block escapes, is counted, and stays secret.
        match std::sync::Arc::try_unwrap(self) {
            Ok(t) => std::sync::Arc::new(t.leave(on)),
            Err(shared) => shared,
        }
    }
}

impl<T: Composite> Leaves for Vec<T> {
    fn leave(self, on: Leaving) -> Self {
        let mut out = Vec::with_capacity(self.len());
        out.extend(self.into_iter().map(|t| t.leave(on)));
        out
    }
}

impl<T: Composite, const N: usize> Leaves for [T; N] {
    fn leave(self, on: Leaving) -> Self {
        self.map(|t| t.leave(on))
    }
}

/// Declares structs and enums that may leave a region; every field must be [`Leaves`] itself.
///
/// ```
/// vault::leaves! {
///     /// A sequence number and its method.
///     #[derive(Debug, Clone, Copy)]
///     pub struct CSeq { pub number: u32, pub method: Method }
///
///     #[derive(Debug, Clone, Copy)]
///     pub enum Method { Invite, Other(u8) }
/// }
/// ```
///
/// A field that could hold text is refused by the compiler:
///
/// ```compile_fail
/// vault::leaves! { pub struct Caller { pub name: String } }
/// ```
#[macro_export]
macro_rules! leaves {
    () => {};
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$fmeta:meta])* $fvis:vis $field:ident : $ty:ty),* $(,)? } $($rest:tt)*) => {
        $(#[$meta])* $vis struct $name { $($(#[$fmeta])* $fvis $field: $ty),* }
        impl $crate::Leaves for $name {
            fn leave(self, on: $crate::leaves::Leaving) -> Self {
                Self { $($field: $crate::Leaves::leave(self.$field, on)),* }
            }
        }
        impl $crate::leaves::Composite for $name {}
        $crate::leaves! { $($rest)* }
    };
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $variant:ident $(( $ty:ty ))? ),* $(,)? } $($rest:tt)*) => {
        $(#[$meta])* $vis enum $name { $($(#[$vmeta])* $variant $(($ty))?),* }
        impl $crate::Leaves for $name {
            fn leave(self, on: $crate::leaves::Leaving) -> Self {
                let _ = on;
                $($crate::leaves!(@variant self on $variant $(($ty))?);)*
                self
            }
        }
        impl $crate::leaves::Composite for $name {}
        $crate::leaves! { $($rest)* }
    };
    (@variant $self:ident $on:ident $variant:ident) => {};
    (@variant $self:ident $on:ident $variant:ident ($ty:ty)) => {
        if let Self::$variant(inner) = $self {
            return Self::$variant(<$ty as $crate::Leaves>::leave(inner, $on));
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    leaves! {
        #[derive(Debug, PartialEq)]
        enum Shape { Point, Line(Box<u32>) }
    }

    #[test]
    fn an_enum_keeps_its_variant_and_value() {
        assert_eq!(Shape::Line(Box::new(7)).leave(Leaving::new()), Shape::Line(Box::new(7)));
        assert_eq!(Shape::Point.leave(Leaving::new()), Shape::Point);
    }
}
