//! Which memory of this process can be read, so that a wild pointer of a plugin is told instead of followed.

use std::io;

/// Ranges of addresses that could be read when it was made.
pub struct MappedMemory {
    /// In order, those that touch joined.
    ranges: Vec<(usize, usize)>,
}

impl MappedMemory {
    /// Reads what the system has mapped for this process.
    ///
    /// # Errors
    /// `/proc/self/maps` cannot be read.
    pub fn now() -> io::Result<Self> {
        Ok(Self::parse(&std::fs::read_to_string("/proc/self/maps")?))
    }

    /// Reads the text of `/proc/self/maps`; lines that are none are left out.
    fn parse(maps: &str) -> Self {
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for line in maps.lines() {
            let mut words = line.split(' ');
            let addresses = words.next().and_then(|range| range.split_once('-'));
            let Some((start, end)) = addresses else { continue };
            let readable = words.next().is_some_and(|permissions| permissions.starts_with('r'));
            let number = |text| usize::from_str_radix(text, 16);
            let (Ok(start), Ok(end), true) = (number(start), number(end), readable) else { continue };
            match ranges.last_mut() {
                Some(last) if last.1 == start => last.1 = end,
                _ => ranges.push((start, end)),
            }
        }
        ranges.sort_unstable();
        Self { ranges }
    }

    /// Whether `length` bytes from `address` on can be read.
    pub fn readable(&self, address: usize, length: usize) -> bool {
        let Some(end) = address.checked_add(length) else { return false };
        let after = self.ranges.partition_point(|(start, _)| *start <= address);
        after.checked_sub(1).is_some_and(|at| end <= self.ranges[at].1)
    }
}

/// Where the file is mapped that `address` is in: first address, and the first one behind. Empty where that cannot be
/// told.
pub fn extent_of(address: usize) -> (usize, usize) {
    std::fs::read_to_string("/proc/self/maps").map_or((0, 0), |maps| extent_in(&maps, address))
}

fn extent_in(maps: &str, address: usize) -> (usize, usize) {
    let mappings = || {
        maps.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let (start, end) = words.next()?.split_once('-')?;
            let number = |text| usize::from_str_radix(text, 16).ok();
            // Permissions and offset differ from part to part; device and inode are the file's.
            let file = (words.nth(2)?, words.next()?);
            Some((number(start)?, number(end)?, file))
        })
    };
    let Some((_, _, file)) = mappings().find(|(start, end, _)| (*start..*end).contains(&address)) else {
        return (0, 0);
    };
    let own = || mappings().filter(|(_, _, of)| *of == file && of.1 != "0");
    let start = own().map(|(start, ..)| start).min().unwrap_or(0);
    (start, own().map(|(_, end, _)| end).max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_readable_within_touching_ranges_only() {
        let memory = MappedMemory::parse(
            "1000-2000 r--p 00000000 00:01 5  /x\n2000-3000 rw-p 00000000 00:01 5  /x\n\
             3000-4000 ---p 00000000 00:00 0\n5000-6000 r-xp 00000000 00:00 0\nnonsense\n",
        );
        let cases = [
            (0x1000, 0x2000, true),
            (0x0fff, 1, false),
            (0x1000, 0x2001, false),
            (0x3000, 1, false),
            (0x4000, 1, false),
            (0x5fff, 1, true),
            (0x6000, 1, false),
            (0x5000, usize::MAX, false),
        ];
        for (address, length, readable) in cases {
            assert_eq!(memory.readable(address, length), readable, "{address:x} {length:x}");
        }
    }

    #[test]
    fn a_file_is_mapped_from_its_first_part_to_its_last() {
        let maps = "1000-2000 r--p 00000000 00:01 5  /x\n2000-3000 rw-p 00001000 00:01 5  /x\n\
                    3000-4000 r--p 00000000 00:01 6  /y\n5000-6000 rw-p 00000000 00:00 0\n";
        assert_eq!(extent_in(maps, 0x2800), (0x1000, 0x3000));
        assert_eq!(extent_in(maps, 0x3000), (0x3000, 0x4000));
        assert_eq!((extent_in(maps, 0x4000), extent_in(maps, 0x5000)), ((0, 0), (0, 0)));
        let (start, end) = extent_of(extent_of as *const () as usize);
        assert!((start..end).contains(&(extent_of as *const () as usize)));
    }

    #[test]
    fn own_memory_is_readable_and_the_null_page_is_not() {
        let memory = MappedMemory::now().unwrap();
        let value = [1_u8; 64];
        assert!(memory.readable(value.as_ptr().addr(), value.len()));
        assert!(!memory.readable(0, 1));
        assert!(!memory.readable(8, 8));
    }
}
