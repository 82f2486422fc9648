//! OpenSSL, where a library brings it along (SQLCipher does): what it keeps for random numbers holds no AES key then, which a look for keys in memory would
//! have to tell from ours.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};

unsafe extern "C" {
    fn RAND_set_DRBG_type(
        context: *mut c_void,
        drbg: *const c_char,
        properties: *const c_char,
        cipher: *const c_char,
        digest: *const c_char,
    ) -> c_int;
}

/// Has OpenSSL make random numbers by hashing (NIST SP 800-90A, Hash_DRBG with SHA-256). To be called before it makes any; false: it has already.
///
/// Compiled where it is used alone, so that who has no OpenSSL needs none.
#[inline]
pub fn hash_random_numbers() -> bool {
    // SAFETY: the context may be null (the default one), so may properties and cipher; the names are C strings, which are copied.
    let done = unsafe {
        RAND_set_DRBG_type(
            std::ptr::null_mut(),
            c"HASH-DRBG".as_ptr(),
            std::ptr::null(),
            std::ptr::null(),
            c"SHA256".as_ptr(),
        )
    };
    done == 1
}
