//! The opcodes of pickles, by their names in `pickletools`, and how long each is.

pub const MARK: u8 = b'(';
pub const STOP: u8 = b'.';
pub const NONE: u8 = b'N';
pub const NEWTRUE: u8 = 0x88;
pub const NEWFALSE: u8 = 0x89;
pub const BININT: u8 = b'J';
pub const BININT1: u8 = b'K';
pub const BININT2: u8 = b'M';
pub const LONG1: u8 = 0x8a;
pub const LONG4: u8 = 0x8b;
pub const BINFLOAT: u8 = b'G';
pub const SHORT_BINUNICODE: u8 = 0x8c;
pub const BINUNICODE: u8 = b'X';
pub const BINUNICODE8: u8 = 0x8d;
pub const SHORT_BINBYTES: u8 = b'C';
pub const BINBYTES: u8 = b'B';
pub const BINBYTES8: u8 = 0x8e;
pub const BYTEARRAY8: u8 = 0x96;
pub const EMPTY_TUPLE: u8 = b')';
pub const TUPLE: u8 = b't';
pub const TUPLE1: u8 = 0x85;
pub const TUPLE2: u8 = 0x86;
pub const TUPLE3: u8 = 0x87;
pub const EMPTY_LIST: u8 = b']';
pub const APPEND: u8 = b'a';
pub const APPENDS: u8 = b'e';
pub const EMPTY_SET: u8 = 0x8f;
pub const ADDITEMS: u8 = 0x90;
pub const FROZENSET: u8 = 0x91;
pub const EMPTY_DICT: u8 = b'}';
pub const SETITEM: u8 = b's';
pub const SETITEMS: u8 = b'u';
pub const BUILD: u8 = b'b';
pub const NEWOBJ: u8 = 0x81;
pub const NEWOBJ_EX: u8 = 0x92;
pub const REDUCE: u8 = b'R';
pub const GLOBAL: u8 = b'c';
pub const STACK_GLOBAL: u8 = 0x93;
pub const EXT1: u8 = 0x82;
pub const EXT2: u8 = 0x83;
pub const EXT4: u8 = 0x84;
pub const MEMOIZE: u8 = 0x94;
pub const BINPUT: u8 = b'q';
pub const LONG_BINPUT: u8 = b'r';
pub const BINGET: u8 = b'h';
pub const LONG_BINGET: u8 = b'j';
pub const PROTO: u8 = 0x80;
pub const FRAME: u8 = 0x95;

const SHORT_BINSTRING: u8 = b'U';
const BINSTRING: u8 = b'T';

/// Opcodes without an operand that nothing else here needs a name for: POP, `POP_MARK`, DUP, OBJ, BINPERSID,
/// `NEXT_BUFFER` and `READONLY_BUFFER`.
const OTHERS: [u8; 7] = [b'0', b'1', b'2', b'o', b'Q', 0x97, 0x98];

/// The length of the first opcode of `code`, with its operand. `None`: the code is cut off, or the opcode is one whose
/// operand is a line of text, which protocols from 2 on write for a global only.
pub fn len(code: &[u8]) -> Option<usize> {
    let counted = |width: usize| {
        let mut len = [0; 8];
        len[..width].copy_from_slice(code.get(1..=width)?);
        usize::try_from(u64::from_le_bytes(len)).ok()?.checked_add(1 + width)
    };
    let line = |from: usize| code.get(from..)?.iter().position(|byte| *byte == b'\n').map(|at| from + at + 1);
    let len = match *code.first()? {
        BININT1 | BINGET | BINPUT | EXT1 | PROTO => 2,
        BININT2 | EXT2 => 3,
        BININT | LONG_BINGET | LONG_BINPUT | EXT4 => 5,
        BINFLOAT | FRAME => 9,
        LONG1 | SHORT_BINUNICODE | SHORT_BINBYTES | SHORT_BINSTRING => counted(1)?,
        LONG4 | BINUNICODE | BINBYTES | BINSTRING => counted(4)?,
        BINUNICODE8 | BINBYTES8 | BYTEARRAY8 => counted(8)?,
        GLOBAL => line(line(1)?)?,
        MARK | STOP | NONE | NEWTRUE | NEWFALSE | EMPTY_TUPLE | TUPLE | TUPLE1 | TUPLE2 | TUPLE3
        | EMPTY_LIST | APPEND | APPENDS | EMPTY_SET | ADDITEMS | FROZENSET | EMPTY_DICT | SETITEM
        | SETITEMS | BUILD | NEWOBJ | NEWOBJ_EX | REDUCE | STACK_GLOBAL | MEMOIZE => 1,
        other if OTHERS.contains(&other) => 1,
        _ => return None,
    };
    (len <= code.len()).then_some(len)
}
