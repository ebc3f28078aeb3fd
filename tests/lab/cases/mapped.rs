//! Files that are written to by memory: the kernel tells of the end of a mapping, and of nothing
//! before.

use std::{
    ffi::{c_int, c_long, c_void},
    fs::File,
    os::fd::AsRawFd,
};

use crate::harness::{DEFAULT_BOUND, Lab, wait_until};

const LENGTH: usize = 100_000;

// SAFETY: as POSIX and the C library that the standard library is linked with have them. `off_t` is
// a `long`.
unsafe extern "C" {
    fn mmap(
        at: *mut c_void,
        length: usize,
        prot: c_int,
        flags: c_int,
        fd: c_int,
        offset: c_long,
    ) -> *mut c_void;
    fn munmap(at: *mut c_void, length: usize) -> c_int;
}

/// A file of `LENGTH` bytes in memory, until it is dropped.
struct Mapped(*mut c_void);

impl Mapped {
    fn new(file: &File) -> Self {
        const READ_WRITE: c_int = 3;
        const SHARED: c_int = 1;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that there is.
        let at =
            unsafe { mmap(std::ptr::null_mut(), LENGTH, READ_WRITE, SHARED, file.as_raw_fd(), 0) };
        assert_ne!(at as isize, -1, "{}", std::io::Error::last_os_error());
        Self(at)
    }

    fn store(&mut self, text: &str) {
        assert!(text.len() <= LENGTH);
        // SAFETY: the mapping has `LENGTH` bytes, as has the file, which nobody cuts off; and
        // nobody else points into it.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), self.0.cast(), text.len()) };
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: it was mapped so in `new`, and nothing points into it any more.
        assert_eq!(unsafe { munmap(self.0, LENGTH) }, 0);
    }
}

/// The page is dirty already when the second text is stored: that leaves no new time, and its end
/// no new stamp.
#[test]
fn what_is_stored_before_a_mapping_ends_is_read() {
    let lab = Lab::running(2);
    let [a, b] = lab.hosts();
    a.write("mapped", vec![b'.'; LENGTH]);
    lab.wait_identical();
    let file = File::options().read(true).write(true).open(a.path("mapped")).unwrap();
    let mut mapped = Mapped::new(&file);
    mapped.store("first");
    drop(file);
    a.chmod("mapped", 0o600);
    wait_until("what was stored first", DEFAULT_BOUND, || b.read("mapped").starts_with("first."));
    mapped.store("second");
    drop(mapped);
    wait_until("what was stored last", DEFAULT_BOUND, || b.read("mapped").starts_with("second."));
    lab.wait_identical();
}
