//! A plugin's header as it lies in the file: read and judged before any code of the file can run.

use std::mem::offset_of;

use object::endian::{NativeEndian, U16, U32, U64};
use object::pod::Pod;
use raddle_plugin_api::abi::{ABI_MAJOR, ABI_MINOR, LAYOUT_HASH, MAGIC, PLUGIN_SYMBOL, PluginHeader};

use super::Refusal;
use super::elf::SharedObject;
use super::registrations::NAME_LIMIT;

/// Bytes of the header in ABI 1.0.
pub const HEADER_LEAST: usize = 120;
// A header that grows must be read by prefix: a plugin of ABI 1.0 has only these bytes.
const _: () = assert!(size_of::<PluginHeader>() == HEADER_LEAST);

/// The part of a plugin's header that is plain numbers, the same in the file as in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// Its first bytes.
    pub magic: [u8; 8],
    /// Its length in bytes at its maker.
    pub size: u32,
    /// ABI generation.
    pub abi_major: u16,
    /// ABI addition.
    pub abi_minor: u16,
    /// Hash of the layout of the structs shared without a size.
    pub layout: u64,
    /// 1 if panics unwind.
    pub panics_unwind: u32,
    /// The oldest ABI that will do, as in [`PluginHeader::host_abi`].
    pub host_abi: u32,
}

impl Descriptor {
    /// Reads the header of the plugin in `bytes`, a whole file.
    ///
    /// # Errors
    /// The file is not a shared object for this machine, or has no header.
    pub fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        Self::of(&SharedObject::parse(bytes)?)
    }

    /// Reads the header of the plugin in a shared object.
    ///
    /// # Errors
    /// It has no header.
    pub fn of(object: &SharedObject<'_>) -> Result<Self, Refusal> {
        let export = object.export(PLUGIN_SYMBOL)?.ok_or(Refusal::NoSymbol)?;
        let shape = |there: String| Refusal::SymbolShape { there, least: HEADER_LEAST };
        if !export.is_data {
            return Err(shape("not data".to_owned()));
        }
        if export.size != 0 && export.size < HEADER_LEAST as u64 {
            return Err(shape(format!("{} bytes long", export.size)));
        }
        if export.address % align_of::<PluginHeader>() as u64 != 0 {
            return Err(shape("not aligned".to_owned()));
        }
        if object.at(export.address, HEADER_LEAST as u64).is_none() {
            return Err(shape("not in the file".to_owned()));
        }
        fn field<T: Pod>(object: &SharedObject<'_>, address: u64, offset: usize) -> Result<T, Refusal> {
            let there = address.checked_add(offset as u64).and_then(|address| object.read(address));
            there
                .copied()
                .ok_or(Refusal::SymbolShape { there: "not in the file".to_owned(), least: HEADER_LEAST })
        }
        let at = export.address;
        Ok(Self {
            magic: field(object, at, offset_of!(PluginHeader, magic))?,
            size: field::<U32<NativeEndian>>(object, at, offset_of!(PluginHeader, size))?.get(NativeEndian),
            abi_major: field::<U16<NativeEndian>>(object, at, offset_of!(PluginHeader, abi_major))?
                .get(NativeEndian),
            abi_minor: field::<U16<NativeEndian>>(object, at, offset_of!(PluginHeader, abi_minor))?
                .get(NativeEndian),
            layout: field::<U64<NativeEndian>>(object, at, offset_of!(PluginHeader, layout))?
                .get(NativeEndian),
            panics_unwind: field::<U32<NativeEndian>>(object, at, offset_of!(PluginHeader, panics_unwind))?
                .get(NativeEndian),
            host_abi: field::<U32<NativeEndian>>(object, at, offset_of!(PluginHeader, host_abi))?
                .get(NativeEndian),
        })
    }

    /// Judges whether this binary can host such a plugin.
    ///
    /// # Errors
    /// The first field that does not fit, in the order in which one says more than the next.
    pub fn judge(&self) -> Result<(), Refusal> {
        if self.magic != MAGIC {
            return Err(Refusal::Magic { there: self.magic });
        }
        let (major, minor) = (self.abi_major, self.abi_minor);
        if major < ABI_MAJOR {
            return Err(Refusal::AbiTooOld { major, minor });
        }
        // What a newer one adds stands behind what this binary knows, so only what it cannot do without counts.
        let needed = if self.host_abi == 0 {
            (major, minor)
        } else {
            ((self.host_abi >> 16) as u16, self.host_abi as u16)
        };
        if major > ABI_MAJOR || needed > (ABI_MAJOR, ABI_MINOR) {
            let (needed_major, needed_minor) = needed;
            return Err(Refusal::AbiTooNew { major, minor, needed_major, needed_minor });
        }
        if (self.size as usize) < HEADER_LEAST {
            let what = "plugin header".to_owned();
            return Err(Refusal::Size { what, there: self.size as usize, least: HEADER_LEAST });
        }
        if self.layout != LAYOUT_HASH {
            return Err(Refusal::Layout { there: self.layout });
        }
        if self.panics_unwind == 0 {
            return Err(Refusal::PanicsAbort);
        }
        Ok(())
    }
}

/// The name in the header of a plugin, where the file tells where the loader will have it point to.
pub fn name(object: &SharedObject<'_>) -> Option<String> {
    text(object, offset_of!(PluginHeader, name))
}

/// The version in the header of the plugin in `bytes`, likewise.
pub fn version(bytes: &[u8]) -> Option<String> {
    text(&SharedObject::parse(bytes).ok()?, offset_of!(PluginHeader, version))
}

fn text(object: &SharedObject<'_>, field: usize) -> Option<String> {
    let header = object.export(PLUGIN_SYMBOL).ok()??.address;
    let pointer = header.checked_add(field as u64)?;
    let length = object.read::<U64<NativeEndian>>(pointer.checked_add(8)?)?.get(NativeEndian);
    if length > NAME_LIMIT as u64 {
        return None;
    }
    let text = object.at(object.pointer(pointer)?, length)?;
    std::str::from_utf8(text).ok().map(str::to_owned)
}
