//! Instructions of eBPF (RFC 9669), as far as the program here needs them, and jumps to labels.

use raddle_af_xdp_sys::bpf::Instruction;

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register(u8);

/// What a function returns.
pub const R0: Register = Register(0);
/// A function's first argument; the program's own.
pub const R1: Register = Register(1);
/// A function's second argument.
pub const R2: Register = Register(2);
/// A function's third argument.
pub const R3: Register = Register(3);
/// Free until a function is called.
pub const R4: Register = Register(4);
/// Free until a function is called.
pub const R5: Register = Register(5);
/// Kept by functions.
pub const R6: Register = Register(6);
/// Kept by functions.
pub const R7: Register = Register(7);
/// Kept by functions.
pub const R8: Register = Register(8);
/// Kept by functions.
pub const R9: Register = Register(9);

/// How much is loaded from memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// One byte.
    Byte,
    /// Two bytes.
    Half,
    /// Four bytes.
    Word,
}

/// A place to jump to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// Instructions that are being put together.
#[derive(Debug, Default)]
pub struct Assembler {
    code: Vec<Instruction>,
    jumps: Vec<(usize, Label)>,
    labels: Vec<Option<usize>>,
}

impl Assembler {
    /// A label whose place is still to be set.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Sets the place of a label: here.
    pub fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.code.len());
    }

    fn put(&mut self, code: u8, to: Register, from: Register, offset: i16, immediate: i32) {
        self.code.push(Instruction { code, registers: to.0 | from.0 << 4, offset, immediate });
    }

    fn jump(&mut self, code: u8, left: Register, right: Register, immediate: i32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.put(code, left, right, 0, immediate);
    }

    /// Sets a register to a number.
    pub fn set(&mut self, to: Register, value: i32) {
        self.put(0xb7, to, R0, 0, value);
    }

    /// Copies a register.
    pub fn copy(&mut self, to: Register, from: Register) {
        self.put(0xbf, to, from, 0, 0);
    }

    /// Adds a number.
    pub fn add(&mut self, to: Register, value: i32) {
        self.put(0x07, to, R0, 0, value);
    }

    /// Adds a register.
    pub fn add_register(&mut self, to: Register, from: Register) {
        self.put(0x0f, to, from, 0, 0);
    }

    /// Keeps the bits of a mask.
    pub fn and(&mut self, to: Register, mask: i32) {
        self.put(0x57, to, R0, 0, mask);
    }

    /// Shifts to the left.
    pub fn shift_left(&mut self, to: Register, bits: i32) {
        self.put(0x67, to, R0, 0, bits);
    }

    /// Loads from `offset` bytes behind the address in `from`.
    pub fn load(&mut self, to: Register, from: Register, offset: i16, size: Size) {
        let code = match size {
            Size::Byte => 0x71,
            Size::Half => 0x69,
            Size::Word => 0x61,
        };
        self.put(code, to, from, offset, 0);
    }

    /// Sets a register to a map, by the number of its descriptor.
    pub fn load_map(&mut self, to: Register, descriptor: i32) {
        // `BPF_PSEUDO_MAP_FD`.
        self.put(0x18, to, R1, 0, descriptor);
        self.put(0, R0, R0, 0, 0);
    }

    /// Jumps.
    pub fn go(&mut self, label: Label) {
        self.jump(0x05, R0, R0, 0, label);
    }

    /// Jumps if the low half of a register is this number.
    pub fn if_equal(&mut self, left: Register, value: u32, label: Label) {
        self.jump(0x16, left, R0, value.cast_signed(), label);
    }

    /// Jumps if the low half of a register is another number.
    pub fn unless_equal(&mut self, left: Register, value: u32, label: Label) {
        self.jump(0x56, left, R0, value.cast_signed(), label);
    }

    /// Jumps if one address lies behind another.
    pub fn if_beyond(&mut self, left: Register, right: Register, label: Label) {
        self.jump(0x2d, left, right, 0, label);
    }

    /// Calls a function of the kernel by its number.
    pub fn call(&mut self, function: i32) {
        self.put(0x85, R0, R0, 0, function);
    }

    /// Ends the program; R0 says what becomes of the frame.
    pub fn exit(&mut self) {
        self.put(0x95, R0, R0, 0, 0);
    }

    /// The instructions; `None` if a label has no place, or is too far away.
    pub fn finish(mut self) -> Option<Vec<Instruction>> {
        for (at, label) in &self.jumps {
            let target = self.labels[label.0]?;
            let distance = target as isize - *at as isize - 1;
            self.code[*at].offset = i16::try_from(distance).ok()?;
        }
        Some(self.code)
    }
}
