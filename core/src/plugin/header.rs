//! A loaded plugin's header and registrations: read as raw memory, and judged before anything is used as a function.

use std::mem::offset_of;

use raddle_plugin_api::abi::{PluginHeader, Registrations, Slice, Text, read_prefix};

use super::descriptor::Descriptor;
use super::library::Library;
use super::mapped::MappedMemory;
use super::{Description, Refusal, Registered};

/// Most elements of one list of registrations.
pub const LIST_LIMIT: usize = 4096;
/// Most bytes of a text.
pub const TEXT_LIMIT: usize = 4096;
/// Most bytes from one element of a list to the next.
const STRIDE_LIMIT: usize = 1 << 16;

/// A kind of registration: a struct that begins with its size.
pub(super) trait Element: Copy {
    /// What it is called in a refusal.
    const KIND: &'static str;
    /// Its function pointers, by name and offset.
    const FUNCTIONS: &'static [(&'static str, usize)];
}

/// Reads what a plugin hands over, and follows no pointer that leads out of the mapped memory.
pub(super) struct Reader {
    memory: MappedMemory,
}

/// The header of a loaded plugin and what it says, all of it judged.
///
/// # Errors
/// The first thing that is not as the ABI says.
pub fn check(library: &Library) -> Result<(&'static PluginHeader, Description), Refusal> {
    let address = library.header_address()?.cast::<PluginHeader>();
    let reader = Reader::new()?;
    if !reader.readable(address.addr(), size_of::<PluginHeader>()) || !address.is_aligned() {
        return Err(Refusal::Pointer { field: "header".to_owned() });
    }
    // Once more, as the loader has made it: its relocations could have written to it.
    // SAFETY: readable and aligned, as just checked; every value of these fields is valid.
    let descriptor = unsafe {
        Descriptor {
            magic: (*address).magic,
            size: (*address).size,
            abi_major: (*address).abi_major,
            abi_minor: (*address).abi_minor,
            layout: (*address).layout,
            panics_unwind: (*address).panics_unwind,
            host_abi: (*address).host_abi,
        }
    };
    descriptor.judge()?;
    let functions = [
        ("function `create`", offset_of!(PluginHeader, create)),
        ("function `drop`", offset_of!(PluginHeader, drop)),
        ("function `registrations`", offset_of!(PluginHeader, registrations)),
    ];
    for (name, offset) in functions {
        // SAFETY: `offset` is that of a pointer within the header, which is readable.
        let function = unsafe { address.byte_add(offset).cast::<usize>().read() };
        reader.function(function, || name.to_owned())?;
    }
    // SAFETY: readable, aligned, its function pointers are not null, it is as long as the struct (`judge`), and the
    // library is never unloaded.
    let header: &'static PluginHeader = unsafe { &*address };
    let mut description = Description::of_header(header, &reader)?;
    let registrations = registrations(header);
    // What the plugin has just made may lie in memory mapped since.
    description.registered = Registered::read(&registrations, &Reader::new()?)?;
    Ok((header, description))
}

/// Has the plugin say what it registers.
fn registrations(header: &PluginHeader) -> Registrations {
    let mut registrations = Registrations::empty();
    // SAFETY: a function of code (see `check`), which fills in as much as the struct's size says.
    unsafe { (header.registrations)(&raw mut registrations) };
    registrations
}

impl Reader {
    /// A reader of the memory that is mapped now.
    pub fn new() -> Result<Self, Refusal> {
        let memory = MappedMemory::now()
            .map_err(|error| Refusal::Unreadable { reason: format!("/proc/self/maps: {error}") })?;
        Ok(Self { memory })
    }

    fn readable(&self, address: usize, length: usize) -> bool {
        self.memory.readable(address, length)
    }

    fn function(&self, address: usize, field: impl FnOnce() -> String) -> Result<(), Refusal> {
        if address == 0 {
            return Err(Refusal::NullFunction { field: field() });
        }
        if !self.readable(address, 1) {
            return Err(Refusal::Pointer { field: field() });
        }
        Ok(())
    }

    /// The text that a plugin hands over.
    pub fn text(&self, text: Text, field: impl Fn() -> String) -> Result<&'static str, Refusal> {
        if text.len() > TEXT_LIMIT {
            let there = text.len() as u64;
            return Err(Refusal::TooMuch {
                field: format!("length of the {}", field()),
                there,
                limit: TEXT_LIMIT as u64,
            });
        }
        const _: () = assert!(size_of::<Text>() == 16);
        // SAFETY: a `Text` is a pointer and a length, in this order.
        let address = unsafe { (&raw const text).cast::<usize>().read() };
        if !text.is_empty() && !self.readable(address, text.len()) {
            return Err(Refusal::Pointer { field: field() });
        }
        // SAFETY: the bytes are readable, and what a plugin registers stays as it is: its library is never unloaded.
        unsafe { text.as_str() }.ok_or_else(|| Refusal::NotText { field: field() })
    }

    /// The texts of a list.
    pub fn texts(&self, list: Slice<Text>, field: impl Fn() -> String) -> Result<Vec<&'static str>, Refusal> {
        self.addresses(&list, &field)?
            .into_iter()
            .map(|address| {
                // SAFETY: `addresses` gives aligned addresses of readable elements; all bytes are a valid `Text`.
                self.text(unsafe { address.read() }, &field)
            })
            .collect()
    }

    /// The registrations of a list, with their function pointers not null.
    pub fn elements<T: Element>(&self, list: &Slice<T>) -> Result<Vec<T>, Refusal> {
        let addresses = self.addresses(list, &|| format!("list of {}s", T::KIND))?;
        let stride = stride(list);
        let mut elements = Vec::with_capacity(addresses.len());
        for (index, address) in addresses.into_iter().enumerate() {
            let kind = || format!("{} {index}", T::KIND);
            // SAFETY: as in `texts`; each registration begins with its size.
            let size = unsafe { address.cast::<u32>().read() } as usize;
            if size < size_of::<T>() {
                return Err(Refusal::Size { what: kind(), there: size, least: size_of::<T>() });
            }
            if stride.is_some_and(|stride| size > stride) {
                let field = format!("size of {}", kind());
                let limit = stride.unwrap_or_default() as u64;
                return Err(Refusal::TooMuch { field, there: size as u64, limit });
            }
            for (name, offset) in T::FUNCTIONS {
                // SAFETY: `offset` is that of a pointer within the element, which is readable and long enough.
                let function = unsafe { address.byte_add(*offset).cast::<usize>().read() };
                self.function(function, || format!("function `{name}` of {}", kind()))?;
            }
            // SAFETY: the element is readable, begins with its size, is not shorter than `T`, and its function
            // pointers are not null; all bytes are valid for its other fields.
            elements.extend(unsafe { read_prefix(address, size_of::<T>()) });
        }
        Ok(elements)
    }

    /// The addresses of a list's elements, each aligned and readable.
    fn addresses<T>(&self, list: &Slice<T>, field: &impl Fn() -> String) -> Result<Vec<*const T>, Refusal> {
        if list.len() > LIST_LIMIT {
            let field = format!("length of the {}", field());
            return Err(Refusal::TooMuch { field, there: list.len() as u64, limit: LIST_LIMIT as u64 });
        }
        if let Some(stride) = stride(list) {
            if stride < size_of::<T>() {
                let what = format!("stride of the {}", field());
                return Err(Refusal::Size { what, there: stride, least: size_of::<T>() });
            }
            if stride > STRIDE_LIMIT {
                let field = format!("stride of the {}", field());
                return Err(Refusal::TooMuch { field, there: stride as u64, limit: STRIDE_LIMIT as u64 });
            }
        }
        (0..list.len())
            .map(|index| {
                let address = list.element(index);
                let usable = |address: &*const T| {
                    address.is_aligned() && self.readable(address.addr(), size_of::<T>())
                };
                address.filter(usable).ok_or_else(|| Refusal::Pointer { field: field() })
            })
            .collect()
    }
}

/// Bytes from one element of a list to the next, where there are two.
fn stride<T>(list: &Slice<T>) -> Option<usize> {
    Some(list.element(1)?.addr().wrapping_sub(list.element(0)?.addr()))
}
