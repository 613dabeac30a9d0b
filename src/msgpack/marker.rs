//! First bytes of MessagePack values. Small values and short lengths are part of the marker.

/// `0..=FIXPOS_MAX` encode themselves.
pub(super) const FIXPOS_MAX: u8 = 0x7f;
/// The length is in the lower four bits.
pub(super) const FIXMAP: u8 = 0x80;
pub(super) const FIXMAP_MAX: u8 = 0x8f;
pub(super) const FIXARRAY: u8 = 0x90;
pub(super) const FIXARRAY_MAX: u8 = 0x9f;
/// The length is in the lower five bits.
pub(super) const FIXSTR: u8 = 0xa0;
pub(super) const FIXSTR_MAX: u8 = 0xbf;
pub(super) const NIL: u8 = 0xc0;
pub(super) const RESERVED: u8 = 0xc1;
pub(super) const FALSE: u8 = 0xc2;
pub(super) const TRUE: u8 = 0xc3;
pub(super) const BIN8: u8 = 0xc4;
pub(super) const BIN16: u8 = 0xc5;
pub(super) const BIN32: u8 = 0xc6;
pub(super) const EXT8: u8 = 0xc7;
pub(super) const EXT16: u8 = 0xc8;
pub(super) const EXT32: u8 = 0xc9;
pub(super) const F32: u8 = 0xca;
pub(super) const F64: u8 = 0xcb;
pub(super) const U8: u8 = 0xcc;
pub(super) const U16: u8 = 0xcd;
pub(super) const U32: u8 = 0xce;
pub(super) const U64: u8 = 0xcf;
pub(super) const I8: u8 = 0xd0;
pub(super) const I16: u8 = 0xd1;
pub(super) const I32: u8 = 0xd2;
pub(super) const I64: u8 = 0xd3;
pub(super) const FIXEXT1: u8 = 0xd4;
pub(super) const FIXEXT2: u8 = 0xd5;
pub(super) const FIXEXT4: u8 = 0xd6;
pub(super) const FIXEXT8: u8 = 0xd7;
pub(super) const FIXEXT16: u8 = 0xd8;
/// Old encoders use `STR16` and `STR32` as raw and know neither `STR8` nor the bin family.
pub(super) const STR8: u8 = 0xd9;
pub(super) const STR16: u8 = 0xda;
pub(super) const STR32: u8 = 0xdb;
pub(super) const ARRAY16: u8 = 0xdc;
pub(super) const ARRAY32: u8 = 0xdd;
pub(super) const MAP16: u8 = 0xde;
pub(super) const MAP32: u8 = 0xdf;
/// `FIXNEG..` are -32 to -1 in two's complement.
pub(super) const FIXNEG: u8 = 0xe0;

/// The type of a value that begins with `marker`, as Go's decoder names it.
pub(super) fn name(marker: u8) -> &'static str {
    match marker {
        ..=FIXPOS_MAX | FIXNEG.. | I8 | I16 | I32 | I64 => "int",
        U8 | U16 | U32 | U64 => "uint",
        F32 | F64 => "float",
        FIXSTR..=FIXSTR_MAX | STR8 | STR16 | STR32 => "string|bytes",
        BIN8 | BIN16 | BIN32 => "bytes",
        FIXARRAY..=FIXARRAY_MAX | ARRAY16 | ARRAY32 => "array",
        FIXMAP..=FIXMAP_MAX | MAP16 | MAP32 => "map",
        EXT8 | EXT16 | EXT32 | FIXEXT1 | FIXEXT2 | FIXEXT4 | FIXEXT8 | FIXEXT16 => "ext",
        NIL => "nil",
        FALSE => "false",
        TRUE => "true",
        RESERVED => "unknown",
    }
}
