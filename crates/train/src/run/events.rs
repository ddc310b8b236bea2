//! TensorBoard's event files: records framed as TFRecord, each a protobuf `Event` with scalars.
//!
//! Only the few fields that scalars need are written, by hand:
//! <https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto> and `summary.proto`.

use std::io::{self, Write};

/// A named number at a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    /// What it is, e.g. `loss/train`.
    pub tag: String,
    /// The step on the horizontal axis.
    pub step: u64,
    /// Seconds since 1970.
    pub wall_time: f64,
    /// The number.
    pub value: f32,
}

/// Writes the record that an event file begins with.
pub fn write_start(out: &mut dyn Write, wall_time: f64) -> io::Result<()> {
    let mut event = Message::default();
    event.double(1, wall_time);
    event.bytes(3, b"brain.Event:2");
    write_record(out, &event.0)
}

/// Writes one number.
pub fn write_scalar(out: &mut dyn Write, scalar: &Scalar) -> io::Result<()> {
    let mut value = Message::default();
    value.bytes(1, scalar.tag.as_bytes());
    value.float(2, scalar.value);
    let mut summary = Message::default();
    summary.bytes(1, &value.0);
    let mut event = Message::default();
    event.double(1, scalar.wall_time);
    event.integer(2, scalar.step);
    event.bytes(5, &summary.0);
    write_record(out, &event.0)
}

/// Length, its checksum, the data, their checksum; all little-endian.
fn write_record(out: &mut dyn Write, data: &[u8]) -> io::Result<()> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(length);
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked_crc(data).to_le_bytes());
    out.write_all(&record)
}

/// A protobuf message: its fields one after the other.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn key(&mut self, field: u64, wire: u64) {
        self.varint(field << 3 | wire);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn integer(&mut self, field: u64, value: u64) {
        self.key(field, 0);
        self.varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }
}

/// TFRecord's checksum: CRC-32C, rotated and shifted so that a checksum of data with checksums inside is no special case.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), bit-reversed.
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, &byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)])
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_the_standards() {
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_file_is_what_protobuf_and_tfrecord_say() -> io::Result<()> {
        let mut file = Vec::new();
        write_start(&mut file, 1.5)?;
        write_scalar(&mut file, &Scalar { tag: "loss".into(), step: 300, wall_time: 2.0, value: 0.25 })?;
        let mut rest = &file[..];
        let mut records = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().expect("eight bytes")) as usize;
            assert_eq!(rest[8..12], masked_crc(&rest[..8]).to_le_bytes());
            let (data, after) = rest[12..].split_at(length);
            assert_eq!(after[..4], masked_crc(data).to_le_bytes());
            records.push(data);
            rest = &after[4..];
        }
        // 09 = field 1, eight bytes; 1a = field 3, with a length; 10 = field 2, varint; 2a = field 5, with a length.
        assert_eq!(records[0], [&[0x09][..], &1.5f64.to_le_bytes(), &[0x1a, 13], b"brain.Event:2"].concat());
        let value = [&[0x0a, 4][..], b"loss", &[0x15], &0.25f32.to_le_bytes()].concat();
        let summary = [&[0x0a, value.len() as u8][..], &value].concat();
        assert_eq!(records[1], [&[0x09][..], &2f64.to_le_bytes(), &[0x10, 0xac, 0x02, 0x2a, summary.len() as u8], &summary].concat());
        Ok(())
    }
}
