//! Owns framing: cutting a sequence of opcodes into frames where `pickletools.optimize` cuts.

use super::op::Op;
use super::{Protocol, op};

/// `PROTO` and its operand.
const PROTO_LEN: usize = 2;
/// `FRAME` and its 64-bit length.
const FRAME_LEN: usize = 9;
/// What a writer leaves free at the start: room for both.
pub(super) const HEADER_LEN: usize = PROTO_LEN + FRAME_LEN;
/// Python starts a new frame once one holds this much, and leaves larger opcodes outside frames.
const FRAME_TARGET: usize = 64 * 1024;
/// Python writes no `FRAME` opcode for fewer bytes.
const FRAME_MIN: usize = 4;

/// Makes the pickle of the opcodes that lie in `buf` behind a header left free.
pub(super) fn finish(protocol: Protocol, mut buf: Vec<u8>) -> Vec<u8> {
    let body = buf.len() - HEADER_LEN;
    buf[..PROTO_LEN].copy_from_slice(&[op::PROTO, protocol.number()]);
    // Python looks at the size of a frame before each opcode, so a body of at most one frame's target is
    // one frame.
    if body < FRAME_MIN {
        buf.copy_within(HEADER_LEN.., PROTO_LEN);
        buf.truncate(PROTO_LEN + body);
        buf
    } else if body <= FRAME_TARGET {
        buf[PROTO_LEN] = op::FRAME;
        buf[PROTO_LEN + 1..HEADER_LEN].copy_from_slice(&(body as u64).to_le_bytes());
        buf
    } else {
        framed(protocol, &buf[HEADER_LEN..])
    }
}

/// The pickle of `body`, cut into frames where `pickletools.optimize` cuts.
fn framed(protocol: Protocol, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + body.len() / FRAME_TARGET * 64 + 64);
    out.extend_from_slice(&[op::PROTO, protocol.number()]);
    let mut frame_start = 0;
    let mut at = 0;
    while at < body.len() {
        // What comes after an opcode that has no length stays whole.
        let len = Op::read(&body[at..]).map_or(body.len() - at, |op| op.raw().len());
        let frameless = len > FRAME_TARGET;
        if frameless || at - frame_start >= FRAME_TARGET {
            put_frame(&mut out, &body[frame_start..at]);
            frame_start = at;
        }
        at += len;
        if frameless {
            out.extend_from_slice(&body[frame_start..at]);
            frame_start = at;
        }
    }
    put_frame(&mut out, &body[frame_start..]);
    out
}

fn put_frame(out: &mut Vec<u8>, frame: &[u8]) {
    if frame.len() >= FRAME_MIN {
        out.push(op::FRAME);
        out.extend_from_slice(&(frame.len() as u64).to_le_bytes());
    }
    out.extend_from_slice(frame);
}
