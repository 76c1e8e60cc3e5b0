//! Classic BPF: a checked program, and its run over a packet.
//!
//! The instruction set is that of McCanne and Jacobson, "The BSD Packet Filter" (1993), with `MOD` and `XOR` as libpcap
//! emits them. Jumps lead forward only, so that a run ends after as many steps as the program has instructions at the
//! most; loads beyond the packet end the run without a match.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// Instructions that a program may have (`BPF_MAXINSNS`).
const MOST_INSTRUCTIONS: usize = 4096;
/// Words of scratch memory (`BPF_MEMWORDS`).
const WORDS: usize = 16;

/// An instruction as a compiler writes it: code, jumps if true and if false, operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instruction(pub u16, pub u8, pub u8, pub u32);

/// Why a list of instructions is no program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// Nothing, or too much.
    #[error("the filter has {0} instructions; it may have 1 to {MOST_INSTRUCTIONS}")]
    Length(usize),
    /// An instruction that there is not.
    #[error("the filter's instruction {0} has the unknown code {1:#x}")]
    Unknown(usize, u16),
    /// A jump out of the program, or scratch memory that there is not, or a division by zero.
    #[error("the filter's instruction {0} has an operand out of range")]
    Operand(usize),
    /// It runs off its end.
    #[error("the filter does not end with a return")]
    NoReturn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Byte,
    Half,
    Word,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alu {
    Add,
    Sub,
    Mul,
    Div,
    Or,
    And,
    ShiftLeft,
    ShiftRight,
    Mod,
    Xor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
    Set,
}

/// The second operand: a constant, or the index register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operand {
    Constant(u32),
    X,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    LoadConstant(u32),
    LoadLength,
    LoadAt(Size, u32),
    LoadFromX(Size, u32),
    LoadMemory(usize),
    LoadXConstant(u32),
    LoadXLength,
    LoadXMemory(usize),
    /// Four times the low half of a byte: the length of an IPv4 header.
    LoadXHeaderLength(u32),
    Store(usize),
    StoreX(usize),
    Alu(Alu, Operand),
    Negate,
    Jump(usize),
    /// Steps to go on from if true and if false, from the program's start.
    Branch(Test, Operand, usize, usize),
    Return(u32),
    ReturnA,
    AToX,
    XToA,
}

/// A program that was checked: every jump leads forward to one of its steps, and the last one returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    steps: Box<[Step]>,
}

impl Program {
    /// Checks instructions.
    ///
    /// # Errors
    /// They are no program.
    pub fn new(instructions: &[Instruction]) -> Result<Self, ProgramError> {
        let count = instructions.len();
        if count == 0 || count > MOST_INSTRUCTIONS {
            return Err(ProgramError::Length(count));
        }
        let steps = (instructions.iter().enumerate())
            .map(|(at, instruction)| step(at, *instruction, count))
            .collect::<Result<Box<[Step]>, _>>()?;
        match steps.last() {
            Some(Step::Return(_) | Step::ReturnA) => Ok(Self { steps }),
            _ => Err(ProgramError::NoReturn),
        }
    }

    /// Whether a packet of `length` bytes, of which `bytes` are at hand, passes.
    pub fn matches(&self, bytes: &[u8], length: u32) -> bool {
        self.run(bytes, length).unwrap_or(0) != 0
    }

    /// What the program returns; `None` where it loads what is not there, or divides by zero.
    fn run(&self, bytes: &[u8], length: u32) -> Option<u32> {
        let (mut a, mut x, mut memory) = (0_u32, 0_u32, [0_u32; WORDS]);
        let mut at = 0;
        loop {
            let step = *self.steps.get(at)?;
            at += 1;
            match step {
                Step::LoadConstant(value) => a = value,
                Step::LoadLength => a = length,
                Step::LoadAt(size, offset) => a = load(bytes, offset, size)?,
                Step::LoadFromX(size, offset) => a = load(bytes, x.checked_add(offset)?, size)?,
                Step::LoadMemory(word) => a = memory[word],
                Step::LoadXConstant(value) => x = value,
                Step::LoadXLength => x = length,
                Step::LoadXMemory(word) => x = memory[word],
                Step::LoadXHeaderLength(offset) => x = (load(bytes, offset, Size::Byte)? & 0xf) << 2,
                Step::Store(word) => memory[word] = a,
                Step::StoreX(word) => memory[word] = x,
                Step::Alu(operation, operand) => a = calculate(operation, a, value(operand, x))?,
                Step::Negate => a = a.wrapping_neg(),
                Step::Jump(to) => at = to,
                Step::Branch(test, operand, yes, no) => {
                    let other = value(operand, x);
                    let is_true = match test {
                        Test::Equal => a == other,
                        Test::Greater => a > other,
                        Test::GreaterOrEqual => a >= other,
                        Test::Set => a & other != 0,
                    };
                    at = if is_true { yes } else { no };
                }
                Step::Return(value) => return Some(value),
                Step::ReturnA => return Some(a),
                Step::AToX => x = a,
                Step::XToA => a = x,
            }
        }
    }
}

fn value(operand: Operand, x: u32) -> u32 {
    match operand {
        Operand::Constant(value) => value,
        Operand::X => x,
    }
}

fn load(bytes: &[u8], offset: u32, size: Size) -> Option<u32> {
    let from = bytes.get(offset as usize..)?;
    Some(match size {
        Size::Byte => u32::from(*from.first()?),
        Size::Half => u32::from(u16::from_be_bytes(*from.first_chunk()?)),
        Size::Word => u32::from_be_bytes(*from.first_chunk()?),
    })
}

fn calculate(operation: Alu, a: u32, other: u32) -> Option<u32> {
    Some(match operation {
        Alu::Add => a.wrapping_add(other),
        Alu::Sub => a.wrapping_sub(other),
        Alu::Mul => a.wrapping_mul(other),
        Alu::Div => a.checked_div(other)?,
        Alu::Mod => a.checked_rem(other)?,
        Alu::Or => a | other,
        Alu::And => a & other,
        Alu::Xor => a ^ other,
        // A shift by more bits than there are leaves none.
        Alu::ShiftLeft => a.checked_shl(other).unwrap_or(0),
        Alu::ShiftRight => a.checked_shr(other).unwrap_or(0),
    })
}

/// The instruction at position `at` of `count`.
fn step(at: usize, instruction: Instruction, count: usize) -> Result<Step, ProgramError> {
    let Instruction(code, if_true, if_false, k) = instruction;
    let unknown = ProgramError::Unknown(at, code);
    let size = match code & 0x18 {
        0x00 => Some(Size::Word),
        0x08 => Some(Size::Half),
        0x10 => Some(Size::Byte),
        _ => None,
    };
    let word = || Some(k as usize).filter(|&word| word < WORDS).ok_or(ProgramError::Operand(at));
    let operand = if code & 0x08 != 0 { Operand::X } else { Operand::Constant(k) };
    let to = |distance: u32| {
        let target = (at + 1).checked_add(distance as usize);
        target.filter(|&target| target < count).ok_or(ProgramError::Operand(at))
    };
    let branch = |test| Ok(Step::Branch(test, operand, to(if_true.into())?, to(if_false.into())?));
    let alu = |operation| match (operation, operand) {
        (Alu::Div | Alu::Mod, Operand::Constant(0)) => Err(ProgramError::Operand(at)),
        _ => Ok(Step::Alu(operation, operand)),
    };
    match (code & 0x07, code & !0x07) {
        // LD
        (0, 0x00) => Ok(Step::LoadConstant(k)),
        (0, 0x80) => Ok(Step::LoadLength),
        (0, 0x60) => Ok(Step::LoadMemory(word()?)),
        (0, mode) if mode & !0x18 == 0x20 => Ok(Step::LoadAt(size.ok_or(unknown)?, k)),
        (0, mode) if mode & !0x18 == 0x40 => Ok(Step::LoadFromX(size.ok_or(unknown)?, k)),
        // LDX
        (1, 0x00) => Ok(Step::LoadXConstant(k)),
        (1, 0x80) => Ok(Step::LoadXLength),
        (1, 0x60) => Ok(Step::LoadXMemory(word()?)),
        (1, 0xb0) => Ok(Step::LoadXHeaderLength(k)),
        // ST and STX
        (2, 0x00) => Ok(Step::Store(word()?)),
        (3, 0x00) => Ok(Step::StoreX(word()?)),
        // ALU
        (4, operation) => match operation & !0x08 {
            0x00 => alu(Alu::Add),
            0x10 => alu(Alu::Sub),
            0x20 => alu(Alu::Mul),
            0x30 => alu(Alu::Div),
            0x40 => alu(Alu::Or),
            0x50 => alu(Alu::And),
            0x60 => alu(Alu::ShiftLeft),
            0x70 => alu(Alu::ShiftRight),
            0x80 => Ok(Step::Negate),
            0x90 => alu(Alu::Mod),
            0xa0 => alu(Alu::Xor),
            _ => Err(unknown),
        },
        // JMP
        (5, 0x00) => Ok(Step::Jump(to(k)?)),
        (5, test) => match test & !0x08 {
            0x10 => branch(Test::Equal),
            0x20 => branch(Test::Greater),
            0x30 => branch(Test::GreaterOrEqual),
            0x40 => branch(Test::Set),
            _ => Err(unknown),
        },
        // RET
        (6, 0x00) => Ok(Step::Return(k)),
        (6, 0x10) => Ok(Step::ReturnA),
        // MISC
        (7, 0x00) => Ok(Step::AToX),
        (7, 0x80) => Ok(Step::XToA),
        _ => Err(unknown),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `tcpdump -ddd 'udp port 53'` for IPv4 alone: the classic example, with a header length from the packet.
    const UDP_PORT_53: &[Instruction] = &[
        Instruction(0x28, 0, 0, 12),
        Instruction(0x15, 0, 10, 0x0800),
        Instruction(0x30, 0, 0, 23),
        Instruction(0x15, 0, 8, 17),
        Instruction(0x28, 0, 0, 20),
        Instruction(0x45, 6, 0, 0x1fff),
        Instruction(0xb1, 0, 0, 14),
        Instruction(0x48, 0, 0, 14),
        Instruction(0x15, 2, 0, 53),
        Instruction(0x48, 0, 0, 16),
        Instruction(0x15, 0, 1, 53),
        Instruction(0x06, 0, 0, 262_144),
        Instruction(0x06, 0, 0, 0),
    ];

    fn udp(destination: u16) -> Vec<u8> {
        let mut frame = vec![0; 42];
        frame[12..14].copy_from_slice(&[8, 0]);
        (frame[14], frame[23]) = (0x45, 17);
        frame[36..38].copy_from_slice(&destination.to_be_bytes());
        frame
    }

    #[test]
    fn a_compiled_filter_tells_packets_apart() {
        let program = Program::new(UDP_PORT_53).expect("a program");
        assert!(program.matches(&udp(53), 42));
        assert!(!program.matches(&udp(54), 42));
        assert!(!program.matches(&udp(53)[..37], 42), "what is loaded is not there");
        assert!(!program.matches(&[], 0));
    }

    #[test]
    fn instructions_out_of_range_are_refused() {
        let with = |instruction| Program::new(&[instruction, Instruction(6, 0, 0, 1)]);
        assert_eq!(Program::new(&[]), Err(ProgramError::Length(0)));
        assert_eq!(Program::new(&[Instruction(0, 0, 0, 1)]), Err(ProgramError::NoReturn));
        assert_eq!(with(Instruction(5, 0, 0, 1)), Err(ProgramError::Operand(0)));
        assert_eq!(with(Instruction(5, 0, 0, u32::MAX)), Err(ProgramError::Operand(0)));
        assert_eq!(with(Instruction(0x15, 0, 1, 0)), Err(ProgramError::Operand(0)));
        assert_eq!(with(Instruction(0x02, 0, 0, 16)), Err(ProgramError::Operand(0)));
        assert_eq!(with(Instruction(0x34, 0, 0, 0)), Err(ProgramError::Operand(0)));
        assert_eq!(with(Instruction(0xf4, 0, 0, 0)), Err(ProgramError::Unknown(0, 0xf4)));
        assert_eq!(with(Instruction(0x38, 0, 0, 0)), Err(ProgramError::Unknown(0, 0x38)));
    }

    #[test]
    fn arithmetic_wraps_and_a_division_by_zero_does_not_match() {
        // A = k1, X = k2, A = A op X, return A.
        let result = |operation: u16, k1: u32, k2: u32| {
            let steps = [
                Instruction(0x00, 0, 0, k1),
                Instruction(0x01, 0, 0, k2),
                Instruction(0x0c | operation, 0, 0, 0),
                Instruction(0x16, 0, 0, 0),
            ];
            Program::new(&steps).expect("a program").run(&[], 0)
        };
        assert_eq!(result(0x00, u32::MAX, 2), Some(1));
        assert_eq!(result(0x10, 1, 2), Some(u32::MAX));
        assert_eq!((result(0x30, 7, 2), result(0x30, 7, 0)), (Some(3), None));
        assert_eq!((result(0x90, 7, 4), result(0x90, 7, 0)), (Some(3), None));
        assert_eq!((result(0x60, 1, 31), result(0x60, 1, 32)), (Some(1 << 31), Some(0)));
        assert_eq!((result(0x70, 8, 3), result(0x70, 8, 99)), (Some(1), Some(0)));
        assert_eq!((result(0xa0, 6, 3), result(0x80, 1, 0)), (Some(5), Some(u32::MAX)));
    }

    proptest! {
        #[test]
        fn whatever_passes_the_check_ends(
            codes in prop::collection::vec((any::<u16>(), any::<u8>(), any::<u8>(), any::<u32>()), 1..40),
            bytes in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            // Codes of one byte are the likely ones; operands are kept small so that many programs pass.
            let mut instructions: Vec<Instruction> = codes
                .into_iter()
                .map(|(code, yes, no, k)| Instruction(code & 0xff, yes % 4, no % 4, k % 16))
                .filter(|one| step(0, *one, 64).is_ok())
                .collect();
            instructions.extend([Instruction(6, 0, 0, 1); 20]);
            let program = Program::new(&instructions);
            prop_assert!(program.is_ok());
            let _ = program.map(|program| program.matches(&bytes, bytes.len() as u32));
        }
    }
}
