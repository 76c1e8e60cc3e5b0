//! Borrowed text, borrowed arrays, and the sink for text of unknown length.

use std::ffi::c_void;
use std::marker::PhantomData;

/// Borrowed bytes, UTF-8 where the use says text. Since ABI 1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Text {
    ptr: *const u8,
    len: usize,
}

// SAFETY: a `Text` is a shared view of immutable bytes; whoever dereferences it vouches for their life.
unsafe impl Send for Text {}
// SAFETY: as above.
unsafe impl Sync for Text {}

impl Text {
    /// The empty text.
    pub const EMPTY: Self = Self { ptr: std::ptr::null(), len: 0 };

    /// A view of `text`; the caller keeps `text` alive as long as the other side may read it.
    pub const fn new(text: &str) -> Self {
        Self { ptr: text.as_ptr(), len: text.len() }
    }

    /// A view of raw bytes.
    pub const fn bytes(bytes: &[u8]) -> Self {
        Self { ptr: bytes.as_ptr(), len: bytes.len() }
    }

    /// Length in bytes.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes.
    ///
    /// # Safety
    /// The memory that the maker described must be alive and unchanged for `'a`.
    pub const unsafe fn as_bytes<'a>(&self) -> &'a [u8] {
        if self.ptr.is_null() || self.len == 0 {
            return &[];
        }
        // SAFETY: pointer and length come from a slice (see `new`, `bytes`); the caller vouches for its life.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }

    /// The text, or `None` where it is not UTF-8.
    ///
    /// # Safety
    /// As [`Text::as_bytes`].
    pub const unsafe fn as_str<'a>(&self) -> Option<&'a str> {
        // SAFETY: passed on to the caller.
        match std::str::from_utf8(unsafe { self.as_bytes() }) {
            Ok(text) => Some(text),
            Err(_) => None,
        }
    }
}

/// A borrowed array whose elements may be larger or smaller at the maker's side: `stride` bytes apart. Since ABI 1.0.
#[repr(C)]
pub struct Slice<T> {
    ptr: *const T,
    len: usize,
    stride: usize,
    element: PhantomData<T>,
}

impl<T> Clone for Slice<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Slice<T> {}

// SAFETY: a shared view of immutable data; whoever dereferences it vouches for its life.
unsafe impl<T: Sync> Send for Slice<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Slice<T> {}

impl<T> Slice<T> {
    /// No elements.
    pub const EMPTY: Self =
        Self { ptr: std::ptr::null(), len: 0, stride: size_of::<T>(), element: PhantomData };

    /// A view of `elements`; the caller keeps them alive as long as the other side may read them.
    pub const fn new(elements: &[T]) -> Self {
        Self { ptr: elements.as_ptr(), len: elements.len(), stride: size_of::<T>(), element: PhantomData }
    }

    /// Number of elements.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address of element `index`, `None` beyond the end.
    pub fn element(&self, index: usize) -> Option<*const T> {
        if index >= self.len || self.ptr.is_null() {
            return None;
        }
        Some(self.ptr.cast::<u8>().wrapping_add(index.wrapping_mul(self.stride)).cast())
    }
}

impl Slice<Text> {
    /// The texts, those that are not UTF-8 as an empty string.
    ///
    /// # Safety
    /// The array and the texts in it must be alive for `'a`.
    pub unsafe fn texts<'a>(&self) -> Vec<&'a str> {
        (0..self.len)
            .filter_map(|index| self.element(index))
            // SAFETY: `element` is within the array that the maker described; the caller vouches for its life.
            .map(|text| unsafe { (*text).as_str() }.unwrap_or(""))
            .collect()
    }
}

/// Takes bytes from the other side, in pieces: `write(state, bytes)`. Since ABI 1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Sink {
    state: *mut c_void,
    write: Option<unsafe extern "C" fn(*mut c_void, Text)>,
}

impl Sink {
    /// A sink that throws everything away.
    pub const NONE: Self = Self { state: std::ptr::null_mut(), write: None };

    /// A sink that appends to `buffer`, which must outlive the call that the sink is handed to.
    pub fn into_vec(buffer: &mut Vec<u8>) -> Self {
        unsafe extern "C" fn append(state: *mut c_void, bytes: Text) {
            // SAFETY: `state` is the vector that `into_vec` was given, alive and unshared for the call.
            let buffer = unsafe { &mut *state.cast::<Vec<u8>>() };
            // SAFETY: the writer's bytes are alive for the call.
            buffer.extend_from_slice(unsafe { bytes.as_bytes() });
        }
        Self { state: std::ptr::from_mut(buffer).cast(), write: Some(append) }
    }

    /// Hands `text` to the other side.
    ///
    /// # Safety
    /// The call that this sink was handed to must not have returned yet.
    pub unsafe fn write(&self, text: &str) {
        if let Some(write) = self.write {
            // SAFETY: the maker's state is alive, as the caller vouches.
            unsafe { write(self.state, Text::new(text)) };
        }
    }
}

/// Runs `call` with a sink and returns its result beside what was written, as text.
pub fn sink_into<R>(call: impl FnOnce(Sink) -> R) -> (R, String) {
    let mut buffer = Vec::new();
    let result = call(Sink::into_vec(&mut buffer));
    (
        result,
        String::from_utf8(buffer)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}
