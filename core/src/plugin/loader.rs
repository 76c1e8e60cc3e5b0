//! What the system's loader takes for granted of a shared object, and would crash on where it is not so.
//!
//! The loader trusts its files. A file that was cut or damaged on its way must not end the daemon, so the tables that
//! the loader walks are walked here first, within bounds.

use object::elf::{self, DynamicTag, GnuHashHeader};
use object::endian::{NativeEndian, U32};
use object::read::ReadRef;

use super::Refusal;
use super::elf::{SharedObject, damaged, text};

/// Most bytes of one relocated value.
const WORD: u64 = 8;

/// Judges the tables that the system's loader walks.
///
/// # Errors
/// The first table that leads out of the file.
pub fn judge(object: &SharedObject<'_>) -> Result<(), Refusal> {
    names(object)?;
    hash_table(object)?;
    relocations(object)?;
    functions(object)
}

/// Every name that symbols and the dynamic table refer to is there.
fn names(object: &SharedObject<'_>) -> Result<(), Refusal> {
    let strings = object.strings()?;
    let named = |offset: u64| usize::try_from(offset).ok().and_then(|start| text(strings, start)).is_some();
    for (tag, value) in object.dynamic_entries() {
        let refers = [elf::DT_NEEDED, elf::DT_SONAME, elf::DT_RPATH, elf::DT_RUNPATH].contains(tag);
        if refers && !named(*value) {
            return Err(damaged("its dynamic table refers to a name that is not in it"));
        }
    }
    for symbol in object.symbols()? {
        if !named(symbol.st_name.get(NativeEndian).into()) {
            return Err(damaged("a symbol has a name that is not in it"));
        }
    }
    Ok(())
}

/// Each bucket of the hash table leads to a chain of symbols that ends.
fn hash_table(object: &SharedObject<'_>) -> Result<(), Refusal> {
    let Some(address) = object.dynamic(elf::DT_GNU_HASH) else { return Ok(()) };
    let wrong = || damaged("its hash table leads out of it");
    let bytes = object.from(address).ok_or_else(wrong)?;
    let header: &GnuHashHeader<NativeEndian> = bytes.read_at(0).map_err(|()| wrong())?;
    let (base, count) = (header.symbol_base.get(NativeEndian), object.symbols()?.len() as u32);
    let buckets_at = size_of::<GnuHashHeader<NativeEndian>>() as u64
        + u64::from(header.bloom_count.get(NativeEndian)) * WORD;
    let bucket_count = header.bucket_count.get(NativeEndian);
    let buckets: &[U32<NativeEndian>] =
        bytes.read_slice_at(buckets_at, bucket_count as usize).map_err(|()| wrong())?;
    if buckets.iter().map(|first| first.get(NativeEndian)).all(|first| first == 0) {
        return Ok(());
    }
    let chains_at = buckets_at + u64::from(bucket_count) * 4;
    let chains: &[U32<NativeEndian>] = bytes
        .read_slice_at(chains_at, count.checked_sub(base).ok_or_else(wrong)? as usize)
        .map_err(|()| wrong())?;
    let starts_within = |first: u32| first == 0 || (base..count).contains(&first);
    // The last chain ends at the last symbol, so each one that starts within ends within.
    let ends = chains.last().is_some_and(|last| last.get(NativeEndian) & 1 == 1);
    let within = buckets.iter().all(|first| starts_within(first.get(NativeEndian)));
    if within && ends { Ok(()) } else { Err(wrong()) }
}

/// Each relocation writes to the library's own memory, and refers to a symbol that is there.
fn relocations(object: &SharedObject<'_>) -> Result<(), Refusal> {
    if object.dynamic(elf::DT_REL).is_some() || object.dynamic(elf::DT_PLTREL).is_some_and(|kind| kind != 7) {
        return Err(damaged("its relocations are of an unknown kind"));
    }
    let writable = object.dynamic(elf::DT_TEXTREL).is_none();
    let symbols = object.symbols()?.len() as u64;
    let tables = [(elf::DT_RELA, elf::DT_RELASZ), (elf::DT_JMPREL, elf::DT_PLTRELSZ)];
    for (address, length) in tables {
        for relocation in object.relocations(address, length)? {
            let symbol = relocation.r_info.get(NativeEndian) >> 32;
            // A relocation of kind 0 does nothing.
            let idle = relocation.r_info.get(NativeEndian) as u32 == 0;
            let at = relocation.r_offset.get(NativeEndian);
            if !idle && (symbol >= symbols.max(1) || !object.covers(at, WORD, writable)) {
                return Err(damaged("a relocation leads out of it"));
            }
        }
    }
    covered(object, elf::DT_RELR, elf::DT_RELRSZ, "table of packed relocations")
}

/// The functions that run at load and at exit are listed within the library.
fn functions(object: &SharedObject<'_>) -> Result<(), Refusal> {
    covered(object, elf::DT_INIT_ARRAY, elf::DT_INIT_ARRAYSZ, "list of constructors")?;
    covered(object, elf::DT_FINI_ARRAY, elf::DT_FINI_ARRAYSZ, "list of destructors")?;
    for tag in [elf::DT_INIT, elf::DT_FINI] {
        if object.dynamic(tag).is_some_and(|address| address != 0 && !object.covers(address, 1, false)) {
            return Err(damaged("a function that runs at load is not in it"));
        }
    }
    Ok(())
}

fn covered(
    object: &SharedObject<'_>,
    address: DynamicTag,
    length: DynamicTag,
    what: &str,
) -> Result<(), Refusal> {
    match (object.dynamic(address), object.dynamic(length)) {
        (Some(address), Some(length)) if object.covers(address, length, false) => Ok(()),
        (None, _) | (_, None | Some(0)) => Ok(()),
        _ => Err(damaged(format!("its {what} is not in it"))),
    }
}
