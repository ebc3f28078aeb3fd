//! The Berkeley Packet Filter of macOS (bpf(4)).
//!
//! One read fills the buffer with several records, a header and a frame each, aligned to 4 bytes.

// Built on Linux for its tests only, where nothing opens a channel.
#![cfg_attr(not(target_os = "macos"), allow(dead_code))]

use std::{
    ffi::c_void,
    io,
    ops::Range,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    ioctl::{Opcode, Setter, Updater, ioctl, opcode},
};

use crate::core::discovery::Interface;

/// Length of the kernel's buffer and of ours, which have to be equal: some 60 ARP packets.
const BUFFER_BYTES: u32 = 4096;
/// `/dev/bpf0` and so on are tried up to this number; the system makes more as they are used up.
const MAX_DEVICES: usize = 256;

const SET_BUFFER_LENGTH: Opcode = opcode::read_write::<u32>(b'B', 102);
const SET_FILTER: Opcode = opcode::write::<Program>(b'B', 103);
const SET_INTERFACE: Opcode = opcode::write::<InterfaceRequest>(b'B', 108);
const SET_IMMEDIATE: Opcode = opcode::write::<u32>(b'B', 112);
const SET_HEADER_COMPLETE: Opcode = opcode::write::<u32>(b'B', 117);
const SET_SEE_SENT: Opcode = opcode::write::<u32>(b'B', 119);

/// `struct ifreq`: a name, and room for what other requests carry.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    unused: [u8; 16],
}

/// `struct bpf_insn`.
#[repr(C)]
struct Instruction {
    code: u16,
    jump_true: u8,
    jump_false: u8,
    operand: u32,
}

/// `struct bpf_program`.
#[repr(C)]
struct Program {
    length: u32,
    instructions: *const c_void,
}

/// Lets ARP pass, up to 128 bytes a frame: load the ethertype, compare, return a length.
static ARP_ONLY: [Instruction; 4] = [
    Instruction { code: 0x28, jump_true: 0, jump_false: 0, operand: 12 },
    Instruction { code: 0x15, jump_true: 0, jump_false: 1, operand: 0x0806 },
    Instruction { code: 0x06, jump_true: 0, jump_false: 0, operand: 128 },
    Instruction { code: 0x06, jump_true: 0, jump_false: 0, operand: 0 },
];

/// The right to use ARP lies with the devices, which are opened when an interface comes.
#[derive(Debug)]
pub struct Spare;

impl Spare {
    pub fn open() -> io::Result<Self> {
        Ok(Self)
    }
}

#[derive(Debug)]
pub struct Channel {
    device: OwnedFd,
    buffer: Box<[u8; BUFFER_BYTES as usize]>,
    /// What of the buffer has been read from the device and not yet been handed on.
    waiting: Range<usize>,
}

impl Channel {
    /// Needs access to `/dev/bpf*`. The kernel hands over ARP packets alone, and none that this
    /// host sends.
    pub fn bind(spare: Spare, interface: &Interface) -> Result<Self, (io::Error, Spare)> {
        let opened =
            open_device().and_then(|device| configure(&device, interface).map(|()| device));
        match opened {
            Ok(device) => {
                Ok(Self { device, buffer: Box::new([0; BUFFER_BYTES as usize]), waiting: 0..0 })
            }
            Err(error) => Err((error, spare)),
        }
    }

    pub fn release(self) -> Spare {
        Spare
    }

    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // A frame goes as a whole or not at all.
        Ok(rustix::io::write(&self.device, frame).map(drop)?)
    }

    pub fn receive(&mut self) -> io::Result<&[u8]> {
        if self.waiting.is_empty() {
            let length = rustix::io::read(&self.device, &mut self.buffer[..])?;
            self.waiting = 0..length;
        }
        if self.waiting.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (frame, next) = first_record(&self.buffer[self.waiting.clone()]);
        let start = self.waiting.start;
        self.waiting.start = self.waiting.end.min(start + next);
        Ok(&self.buffer[start + frame.start..start + frame.end])
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.device.as_raw_fd()
    }
}

/// The first device that nobody else uses.
fn open_device() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    for number in 0..MAX_DEVICES {
        match rustix::fs::open(format!("/dev/bpf{number}"), flags, Mode::empty()) {
            Err(Errno::BUSY) => continue,
            other => return Ok(other?),
        }
    }
    Err(Errno::BUSY.into())
}

/// The buffer's length has to be set before the interface.
fn configure(device: &OwnedFd, interface: &Interface) -> io::Result<()> {
    let mut request = InterfaceRequest { name: [0; 16], unused: [0; 16] };
    let name = interface.name.as_bytes();
    request.name.get_mut(..name.len()).ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(name);
    let program = Program { length: ARP_ONLY.len() as u32, instructions: ARP_ONLY.as_ptr().cast() };
    let mut length = BUFFER_BYTES;
    // SAFETY: each request is given the type that bpf(4) names for it, of that layout and size, and
    // the program points to as many instructions as it says, which live as long as the process.
    unsafe {
        ioctl(device.as_fd(), Updater::<SET_BUFFER_LENGTH, u32>::new(&mut length))?;
        ioctl(device.as_fd(), Setter::<SET_INTERFACE, InterfaceRequest>::new(request))?;
        ioctl(device.as_fd(), Setter::<SET_FILTER, Program>::new(program))?;
        ioctl(device.as_fd(), Setter::<SET_IMMEDIATE, u32>::new(1))?;
        ioctl(device.as_fd(), Setter::<SET_HEADER_COMPLETE, u32>::new(1))?;
        ioctl(device.as_fd(), Setter::<SET_SEE_SENT, u32>::new(0))?;
    }
    // The kernel may have made it shorter, and a read has to ask for exactly its length.
    if length == BUFFER_BYTES { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
}

/// Where the frame of the first record lies in `records`, and where the next record begins. A
/// header that does not fit gives an empty frame and ends it all.
///
/// `struct bpf_hdr`, in the machine's byte order: time (8 bytes), captured length (4), length (4),
/// length of this header (2).
fn first_record(records: &[u8]) -> (Range<usize>, usize) {
    let fields = records.get(8..12).zip(records.get(16..18));
    let Some((captured, header)) = fields else { return (0..0, records.len()) };
    let captured = u32::from_ne_bytes(captured.try_into().expect("the slice has 4 bytes")) as usize;
    let header = usize::from(u16::from_ne_bytes(header.try_into().expect("the slice has 2 bytes")));
    let end = header.saturating_add(captured);
    if end > records.len() || end == 0 {
        return (0..0, records.len());
    }
    (header..end, end.next_multiple_of(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(frame: &[u8]) -> Vec<u8> {
        let mut record = vec![0; 8];
        record.extend((frame.len() as u32).to_ne_bytes());
        record.extend(60u32.to_ne_bytes());
        record.extend(18u16.to_ne_bytes());
        record.extend(frame);
        record.resize(record.len().next_multiple_of(4), 0);
        record
    }

    #[test]
    fn walks_the_records_of_one_read() {
        let records = [record(b"first"), record(b"second!"), record(b"")].concat();
        let (first, next) = first_record(&records);
        assert_eq!(&records[first], b"first");
        let rest = &records[next..];
        let (second, next) = first_record(rest);
        assert_eq!(&rest[second], b"second!");
        let (third, last) = first_record(&rest[next..]);
        assert!(third.is_empty());
        assert_eq!(last, rest.len() - next);
    }

    #[test]
    fn a_record_that_does_not_fit_ends_it_all() {
        let whole = record(b"frame");
        for length in 0..18 + 5 {
            assert_eq!(first_record(&whole[..length]), (0..0, length));
        }
        assert_eq!(first_record(&[0xff; 40]), (0..0, 40));
        assert_eq!(first_record(&[0; 40]), (0..0, 40));
    }
}
