//! A shared object as bytes: what the system's loader would map where, and the symbols that it exports.
//!
//! A pure reader over hostile bytes: nothing of the file is mapped or run.

use std::ops::Range;

use object::elf::{self, Dyn64, FileHeader64, ProgramHeader64, Rela64, Sym64};
use object::endian::{NativeEndian, U64};
use object::pod::Pod;
use object::read::ReadRef;
use object::read::elf::{Dyn as _, FileHeader as _, GnuHashTable, HashTable, ProgramHeader as _, Sym as _};

use super::Refusal;

/// This machine, in the words of `uname -m`.
pub const HOST_MACHINE: &str = std::env::consts::ARCH;

const BYTE_ORDER: (&str, elf::DataEncoding) = if cfg!(target_endian = "little") {
    ("little-endian", elf::ELFDATA2LSB)
} else {
    ("big-endian", elf::ELFDATA2MSB)
};
/// The kind of relocation that adds where the library is.
const RELATIVE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(8)
} else if cfg!(target_arch = "aarch64") {
    Some(1027)
} else if cfg!(target_arch = "riscv64") {
    Some(3)
} else {
    None
};
/// Most program headers that are looked at; a shared object has about ten.
const SEGMENTS_LIMIT: u16 = 256;
/// Most bytes of address space that a plugin takes.
const MEMORY_LIMIT: u64 = 1 << 32;

/// A shared object for this machine whose segments are all in the file.
pub struct SharedObject<'b> {
    bytes: &'b [u8],
    segments: Vec<Segment>,
    dynamic: Vec<(elf::DynamicTag, u64)>,
}

/// What is mapped to one range of addresses, counted from where the library will be.
struct Segment {
    memory: Range<u64>,
    file: Range<u64>,
    writable: bool,
}

/// A symbol that a shared object exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Export {
    /// Its address, counted from where the library will be.
    pub address: u64,
    /// Its bytes, 0 where the file does not say.
    pub size: u64,
    /// Whether it is data (else code, thread-local or chosen at load).
    pub is_data: bool,
}

impl<'b> SharedObject<'b> {
    /// Reads the headers, the segments and the dynamic table of a file.
    ///
    /// # Errors
    /// Not a shared object for this machine, or a damaged one.
    pub fn parse(bytes: &'b [u8]) -> Result<Self, Refusal> {
        let header = file_header(bytes)?;
        let header_end = header.e_phoff(NativeEndian);
        let count = header.e_phnum(NativeEndian);
        if usize::from(header.e_phentsize(NativeEndian)) != size_of::<ProgramHeader64<NativeEndian>>()
            || count == 0
            || count > SEGMENTS_LIMIT
        {
            return Err(damaged(format!("it has {count} program headers of an unknown kind")));
        }
        let table = size_of::<ProgramHeader64<NativeEndian>>() as u64 * u64::from(count);
        let program: &[ProgramHeader64<NativeEndian>] = bytes
            .read_slice_at(header_end, count.into())
            .map_err(|()| truncated("table of segments", header_end, table, bytes))?;
        // Loading does not need the sections, but they are at the end of the file, so their lack shows a cut.
        let sections = u64::from(header.e_shentsize(NativeEndian)) * u64::from(header.e_shnum(NativeEndian));
        let sections_at = header.e_shoff(NativeEndian);
        if sections_at.checked_add(sections).is_none_or(|end| end > bytes.len() as u64) {
            return Err(truncated("table of sections", sections_at, sections, bytes));
        }
        let segments = segments(bytes, program)?;
        let mut object = Self { bytes, segments, dynamic: Vec::new() };
        object.dynamic = object.dynamic_table(program)?;
        Ok(object)
    }

    /// The bytes that the file puts at `length` bytes of memory from `address` on.
    pub fn at(&self, address: u64, length: u64) -> Option<&'b [u8]> {
        let end = address.checked_add(length)?;
        let segment = self
            .segments
            .iter()
            .find(|segment| segment.memory.start <= address && address < segment.memory.end)?;
        let from = address - segment.memory.start;
        let to = end - segment.memory.start;
        if to > segment.file.end - segment.file.start {
            return None;
        }
        self.bytes.read_bytes_at(segment.file.start + from, to - from).ok()
    }

    /// The value at `address`.
    pub fn read<T: Pod>(&self, address: u64) -> Option<&'b T> {
        self.at(address, size_of::<T>() as u64)?.read_at(0).ok()
    }

    /// All bytes that the file puts from `address` to the end of its segment.
    pub fn from(&self, address: u64) -> Option<&'b [u8]> {
        let segment = self
            .segments
            .iter()
            .find(|segment| segment.memory.start <= address && address < segment.memory.end)?;
        let length = (segment.file.end - segment.file.start).checked_sub(address - segment.memory.start)?;
        self.at(address, length)
    }

    /// Whether `length` bytes of memory from `address` on are the library's, and writable if `writable`.
    pub fn covers(&self, address: u64, length: u64, writable: bool) -> bool {
        let Some(end) = address.checked_add(length) else { return false };
        self.segments.iter().any(|segment| {
            segment.memory.start <= address && end <= segment.memory.end && (segment.writable || !writable)
        })
    }

    /// The relocations of a table of the dynamic table, which tells its address and its length in bytes.
    ///
    /// # Errors
    /// They are not in the file.
    pub fn relocations(
        &self,
        address: elf::DynamicTag,
        length: elf::DynamicTag,
    ) -> Result<&'b [Rela64<NativeEndian>], Refusal> {
        let Some(start) = self.dynamic(address) else { return Ok(&[]) };
        let length = self.dynamic(length).unwrap_or(0);
        let table = self.at(start, length).ok_or_else(|| damaged("its table of relocations is not in it"))?;
        let count = table.len() / size_of::<Rela64<NativeEndian>>();
        table.read_slice_at(0, count).map_err(|()| damaged("its table of relocations is not in it"))
    }

    /// The address that the pointer at `address` will hold, counted from where the library will be; `None` where only
    /// the loader knows.
    pub fn pointer(&self, address: u64) -> Option<u64> {
        let relocations = self.relocations(elf::DT_RELA, elf::DT_RELASZ).ok()?;
        let relocation =
            relocations.iter().find(|relocation| relocation.r_offset.get(NativeEndian) == address);
        let Some(relocation) = relocation else {
            // Packed relocations keep what they add in the place itself.
            return Some(self.read::<U64<NativeEndian>>(address)?.get(NativeEndian))
                .filter(|there| *there != 0);
        };
        let kind = relocation.r_info.get(NativeEndian) as u32;
        (Some(kind) == RELATIVE).then(|| relocation.r_addend.get(NativeEndian) as u64)
    }

    /// The value of an entry of the dynamic table.
    pub fn dynamic(&self, tag: elf::DynamicTag) -> Option<u64> {
        self.dynamic.iter().find(|(there, _)| *there == tag).map(|(_, value)| *value)
    }

    /// All entries of the dynamic table.
    pub fn dynamic_entries(&self) -> &[(elf::DynamicTag, u64)] {
        &self.dynamic
    }

    /// The texts that symbols and entries of the dynamic table refer to.
    ///
    /// # Errors
    /// There are none, or they do not end.
    pub fn strings(&self) -> Result<&'b [u8], Refusal> {
        let (Some(address), Some(length)) = (self.dynamic(elf::DT_STRTAB), self.dynamic(elf::DT_STRSZ))
        else {
            return Err(damaged("it has no table of names"));
        };
        let strings = self.at(address, length).ok_or_else(|| damaged("its table of names is not in it"))?;
        if strings.last() != Some(&0) {
            return Err(damaged("its table of names has no end"));
        }
        Ok(strings)
    }

    /// The symbols of the dynamic table, as many as its hash table tells.
    ///
    /// # Errors
    /// There are none, or they are not in the file.
    pub fn symbols(&self) -> Result<&'b [Sym64<NativeEndian>], Refusal> {
        let address = self.dynamic(elf::DT_SYMTAB).ok_or_else(|| damaged("it has no table of symbols"))?;
        let count = self.symbol_count()?;
        let length = count * size_of::<Sym64<NativeEndian>>() as u64;
        let table = self.at(address, length).ok_or_else(|| damaged("its table of symbols is not in it"))?;
        table.read_slice_at(0, count as usize).map_err(|()| damaged("its table of symbols is not in it"))
    }

    /// The exported symbol with this name.
    ///
    /// # Errors
    /// The tables of symbols or names are damaged.
    pub fn export(&self, name: &str) -> Result<Option<Export>, Refusal> {
        let strings = self.strings()?;
        let found = self.symbols()?.iter().find(|symbol| {
            let defined = symbol.st_shndx(NativeEndian) != elf::SHN_UNDEF;
            let visible = matches!(symbol.st_visibility(), elf::STV_DEFAULT | elf::STV_PROTECTED);
            let bound = matches!(symbol.st_bind(), elf::STB_GLOBAL | elf::STB_WEAK | elf::STB_GNU_UNIQUE);
            let start = symbol.st_name(NativeEndian) as usize;
            defined && visible && bound && text(strings, start) == Some(name.as_bytes())
        });
        Ok(found.map(|symbol| Export {
            address: symbol.st_value(NativeEndian),
            size: symbol.st_size(NativeEndian),
            is_data: matches!(symbol.st_type(), elf::STT_OBJECT | elf::STT_NOTYPE)
                && symbol.st_shndx(NativeEndian) != elf::SHN_ABS,
        }))
    }

    /// Symbols of the dynamic table, which only its hash tables tell.
    fn symbol_count(&self) -> Result<u64, Refusal> {
        if let Some(address) = self.dynamic(elf::DT_GNU_HASH) {
            let bytes = self.from(address).ok_or_else(|| damaged("its hash table is not in it"))?;
            let table = GnuHashTable::<FileHeader64<NativeEndian>>::parse(NativeEndian, bytes)
                .map_err(|error| damaged(format!("its hash table cannot be read ({error})")))?;
            // The loader of the system asserts this, and aborts where it is not so.
            let blooms = bytes
                .read_at::<elf::GnuHashHeader<NativeEndian>>(0)
                .map_or(0, |header| header.bloom_count.get(NativeEndian));
            if !blooms.is_power_of_two() {
                return Err(damaged(format!("its hash table has {blooms} filter words")));
            }
            // Without an exported symbol the table tells the count of those that are imported.
            return Ok(table.symbol_table_length(NativeEndian).unwrap_or(table.symbol_base()).into());
        }
        let Some(address) = self.dynamic(elf::DT_HASH) else {
            return Err(damaged("it has no hash table of its symbols"));
        };
        let bytes = self.from(address).ok_or_else(|| damaged("its hash table is not in it"))?;
        let table = HashTable::<FileHeader64<NativeEndian>>::parse(NativeEndian, bytes)
            .map_err(|error| damaged(format!("its hash table cannot be read ({error})")))?;
        Ok(table.symbol_table_length().into())
    }

    fn dynamic_table(
        &self,
        program: &[ProgramHeader64<NativeEndian>],
    ) -> Result<Vec<(elf::DynamicTag, u64)>, Refusal> {
        let header = program.iter().find(|header| header.p_type(NativeEndian) == elf::PT_DYNAMIC);
        let header = header.ok_or_else(|| damaged("it has no dynamic table"))?;
        let (address, length) = (header.p_vaddr(NativeEndian), header.p_memsz(NativeEndian));
        let table = self.at(address, length).ok_or_else(|| damaged("its dynamic table is not in it"))?;
        let count = table.len() / size_of::<Dyn64<NativeEndian>>();
        let entries: &[Dyn64<NativeEndian>] =
            table.read_slice_at(0, count).map_err(|()| damaged("its dynamic table is not in it"))?;
        let end = entries.iter().position(|entry| entry.tag(NativeEndian) == elf::DT_NULL);
        let end = end.ok_or_else(|| damaged("its dynamic table has no end"))?;
        Ok(entries[..end].iter().map(|entry| (entry.tag(NativeEndian), entry.val(NativeEndian))).collect())
    }
}

/// The text that starts at `start` of a table of names.
pub fn text(strings: &[u8], start: usize) -> Option<&[u8]> {
    let rest = strings.get(start..)?;
    Some(&rest[..rest.iter().position(|byte| *byte == 0)?])
}

pub(super) fn damaged(what: impl Into<String>) -> Refusal {
    Refusal::Damaged { what: what.into() }
}

fn truncated(what: &'static str, at: u64, length: u64, bytes: &[u8]) -> Refusal {
    Refusal::Truncated { what, needs: at.saturating_add(length), has: bytes.len() as u64 }
}

/// The file's first header, after checks of everything that makes it another kind of file.
fn file_header(bytes: &[u8]) -> Result<&FileHeader64<NativeEndian>, Refusal> {
    if bytes.is_empty() {
        return Err(Refusal::Empty);
    }
    let start = &bytes[..bytes.len().min(elf::ELFMAG.len())];
    if !elf::ELFMAG.starts_with(start) {
        let start = start.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        return Err(Refusal::NotElf { start });
    }
    let whole = size_of::<FileHeader64<NativeEndian>>() as u64;
    // The first 16 bytes are the same in files of another class.
    let header: &FileHeader64<NativeEndian> =
        bytes.read_at(0).map_err(|()| truncated("ELF header", 0, whole, bytes))?;
    let ident = header.e_ident();
    if ident.class != elf::ELFCLASS64 || cfg!(not(target_pointer_width = "64")) {
        let there = match ident.class {
            elf::ELFCLASS32 => "32-bit".to_owned(),
            elf::ELFCLASS64 => "64-bit".to_owned(),
            elf::FileClass(other) => format!("class-{other}"),
        };
        return Err(Refusal::Class { there });
    }
    if ident.data != BYTE_ORDER.1 {
        let there = match ident.data {
            elf::ELFDATA2LSB => "little-endian".to_owned(),
            elf::ELFDATA2MSB => "big-endian".to_owned(),
            elf::DataEncoding(other) => format!("unknown ({other})"),
        };
        return Err(Refusal::ByteOrder { there, here: BYTE_ORDER.0 });
    }
    let machine = header.e_machine(NativeEndian);
    if host_machine().is_some_and(|here| here != machine) {
        return Err(Refusal::Machine { there: machine_name(machine) });
    }
    let there = match header.e_type(NativeEndian) {
        elf::ET_DYN => return Ok(header),
        elf::ET_EXEC => "an executable".to_owned(),
        elf::ET_REL => "an object file".to_owned(),
        elf::ET_CORE => "a core dump".to_owned(),
        elf::FileType(other) => format!("an ELF file of type {other}"),
    };
    Err(Refusal::NotShared { there })
}

/// This machine, where there are plugins for it; elsewhere the system's loader judges.
fn host_machine() -> Option<elf::Machine> {
    match HOST_MACHINE {
        "x86_64" => Some(elf::EM_X86_64),
        "aarch64" => Some(elf::EM_AARCH64),
        "riscv64" => Some(elf::EM_RISCV),
        _ => None,
    }
}

fn machine_name(machine: elf::Machine) -> String {
    match machine {
        elf::EM_X86_64 => "x86_64".to_owned(),
        elf::EM_AARCH64 => "aarch64".to_owned(),
        elf::EM_RISCV => "riscv".to_owned(),
        elf::EM_386 => "i386".to_owned(),
        elf::EM_ARM => "arm".to_owned(),
        elf::EM_PPC64 => "powerpc64".to_owned(),
        elf::EM_S390 => "s390x".to_owned(),
        elf::Machine(other) => format!("ELF machine {other}"),
    }
}

/// What the file's program headers map, each range within the file and none over another.
fn segments(bytes: &[u8], program: &[ProgramHeader64<NativeEndian>]) -> Result<Vec<Segment>, Refusal> {
    let mut segments: Vec<Segment> = Vec::new();
    for header in program.iter().filter(|header| header.p_type(NativeEndian) == elf::PT_LOAD) {
        let (offset, in_file) = (header.p_offset(NativeEndian), header.p_filesz(NativeEndian));
        let (address, in_memory) = (header.p_vaddr(NativeEndian), header.p_memsz(NativeEndian));
        let file_end = offset.checked_add(in_file).ok_or_else(|| damaged("a segment has no end"))?;
        if file_end > bytes.len() as u64 {
            return Err(truncated("segment", offset, in_file, bytes));
        }
        let memory_end = address.checked_add(in_memory).filter(|end| *end <= MEMORY_LIMIT);
        let memory_end = memory_end
            .ok_or_else(|| damaged(format!("a segment reaches beyond {MEMORY_LIMIT} bytes of memory")))?;
        if in_file > in_memory {
            return Err(damaged("a segment has more bytes in the file than in memory"));
        }
        let align = header.p_align(NativeEndian).max(1);
        if !align.is_power_of_two() || offset % align != address % align {
            return Err(damaged("a segment is not aligned"));
        }
        if segments.last().is_some_and(|last| address < last.memory.end) {
            return Err(damaged("its segments overlap"));
        }
        segments.push(Segment {
            memory: address..memory_end,
            file: offset..file_end,
            writable: header.p_flags(NativeEndian).0 & elf::PF_W.0 != 0,
        });
    }
    if segments.is_empty() {
        return Err(damaged("it has no segment to load"));
    }
    Ok(segments)
}
