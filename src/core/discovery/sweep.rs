//! Which addresses a sweep visits, and in which order.

use std::{net::Ipv4Addr, time::Instant};

use heapless::Deque;

use super::Interface;
use crate::model::limits::{MAX_INTERFACES, MAX_SWEEP_ADDRESSES, SWEEP_BURST_INTERVAL};

/// The sweep that is going on, if one is, and when the next begins.
#[derive(Debug)]
pub struct Sweep {
    /// In the order in which the interfaces were told.
    walks: Deque<Walk, MAX_INTERFACES>,
    /// Counts stops, to say whose the next one is.
    turn: usize,
    burst_at: Instant,
    next_at: Option<Instant>,
}

/// One stop of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    pub interface: u32,
    pub source: Ipv4Addr,
    pub target: Ipv4Addr,
}

impl Sweep {
    pub fn new(now: Instant) -> Self {
        Self { walks: Deque::new(), turn: 0, burst_at: now, next_at: None }
    }

    /// Adds a subnet to the sweep; one that is being swept begins again.
    pub fn add(&mut self, interface: &Interface) {
        self.remove(interface);
        // There are no more interfaces than the queue has room for, and none is in it twice.
        let _ = self.walks.push_back(Walk::new(interface));
    }

    pub fn remove(&mut self, interface: &Interface) {
        self.walks.retain(|walk| {
            (walk.interface, walk.own) != (interface.index, interface.address.into())
        });
    }

    pub fn stop(&mut self) {
        self.walks.clear();
        self.next_at = None;
    }

    pub fn schedule(&mut self, at: Instant) {
        self.next_at = Some(at);
    }

    /// Neither running nor scheduled?
    pub fn is_stopped(&self) -> bool {
        !self.is_running() && self.next_at.is_none()
    }

    /// Is it time to begin anew? Says so once.
    pub fn begins(&mut self, now: Instant) -> bool {
        self.next_at.take_if(|at| *at <= now).is_some()
    }

    pub fn is_running(&self) -> bool {
        !self.walks.is_empty()
    }

    /// May a burst go out now? The next one may after an interval.
    pub fn burst(&mut self, now: Instant) -> bool {
        let may = self.is_running() && self.burst_at <= now;
        if may {
            self.burst_at = now + SWEEP_BURST_INTERVAL;
        }
        may
    }

    /// Every other stop is the first subnet's, where others are most likely; the rest share what is
    /// left, in turn. So nobody waits for the end of large subnets.
    pub fn next_stop(&mut self) -> Option<Stop> {
        loop {
            self.turn = self.turn.wrapping_add(1);
            let others = self.walks.len().saturating_sub(1);
            let is_others = self.turn.is_multiple_of(2) && others > 0;
            let at = if is_others { 1 + self.turn / 2 % others } else { 0 };
            let walk = self.walks.iter_mut().nth(at)?;
            let own = walk.own;
            match walk.next() {
                Some(target) => {
                    let (interface, source) = (walk.interface, Ipv4Addr::from(own));
                    return Some(Stop { interface, source, target });
                }
                None => {
                    let gone = walk.interface;
                    self.walks.retain(|walk| (walk.interface, walk.own) != (gone, own));
                }
            }
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        if self.is_running() { Some(self.burst_at) } else { self.next_at }
    }
}

/// The addresses of one subnet but the own, nearest first, at most `MAX_SWEEP_ADDRESSES`.
#[derive(Debug)]
struct Walk {
    interface: u32,
    own: u32,
    first: u32,
    last: u32,
    distance: u32,
    upward: bool,
    left: usize,
}

impl Walk {
    fn new(interface: &Interface) -> Self {
        let (first, last) = interface.hosts();
        Self {
            interface: interface.index,
            own: interface.address.into(),
            first: first.into(),
            last: last.into(),
            distance: 1,
            upward: true,
            left: MAX_SWEEP_ADDRESSES,
        }
    }
}

impl Iterator for Walk {
    type Item = Ipv4Addr;

    fn next(&mut self) -> Option<Ipv4Addr> {
        while self.left > 0 {
            let above = self.own.checked_add(self.distance).filter(|&address| address <= self.last);
            let below =
                self.own.checked_sub(self.distance).filter(|&address| address >= self.first);
            above.or(below)?;
            let candidate = if self.upward { above } else { below };
            self.distance += u32::from(!self.upward);
            self.upward = !self.upward;
            if let Some(address) = candidate {
                self.left -= 1;
                return Some(address.into());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(address: [u8; 4], prefix_len: u8) -> Vec<Ipv4Addr> {
        let interface = Interface {
            index: 1,
            name: String::new(),
            address: address.into(),
            prefix_len,
            mac: [2; 6],
        };
        Walk::new(&interface).collect()
    }

    #[test]
    fn visits_each_host_once_nearest_first() {
        let visited = walk([192, 168, 1, 3], 24);
        let last_octets: Vec<u8> = visited.iter().map(|address| address.octets()[3]).collect();
        assert_eq!(last_octets[..8], [4, 2, 5, 1, 6, 7, 8, 9]);
        let mut sorted = last_octets.clone();
        sorted.sort();
        assert_eq!(sorted, (1..=254).filter(|&octet| octet != 3).collect::<Vec<_>>());
    }

    #[test]
    fn subnets_are_swept_in_turn_and_the_first_one_most() {
        let subnet = |index: u8| Interface {
            index: index.into(),
            name: String::new(),
            address: Ipv4Addr::new(10, index, 0, 1),
            prefix_len: 16,
            mac: [2; 6],
        };
        let mut sweep = Sweep::new(Instant::now());
        (1..=15).for_each(|index| sweep.add(&subnet(index)));
        let count = |sweep: &mut Sweep, index| {
            let stops = std::iter::from_fn(|| sweep.next_stop()).take(280);
            stops.filter(|stop| stop.interface == index).count()
        };
        assert_eq!(count(&mut sweep, 1), 140);
        assert_eq!(count(&mut sweep, 15), 10);
        assert_eq!(count(&mut sweep, 2), 10);
        let left = std::iter::from_fn(|| sweep.next_stop()).count();
        assert_eq!(left, 15 * MAX_SWEEP_ADDRESSES - 3 * 280, "and each to its end");
        assert!(!sweep.is_running());
    }

    #[test]
    fn a_large_subnet_is_swept_around_the_own_address() {
        let visited = walk([10, 1, 128, 0], 8);
        assert_eq!(visited.len(), MAX_SWEEP_ADDRESSES);
        let half = MAX_SWEEP_ADDRESSES as u32 / 2;
        let own = u32::from(Ipv4Addr::new(10, 1, 128, 0));
        assert!(visited.iter().all(|&address| u32::from(address).abs_diff(own) <= half));
    }

    #[test]
    fn small_and_odd_subnets() {
        assert_eq!(walk([10, 0, 0, 1], 32), [] as [Ipv4Addr; 0]);
        assert_eq!(walk([10, 0, 0, 1], 31), [Ipv4Addr::new(10, 0, 0, 0)]);
        assert_eq!(walk([10, 0, 0, 1], 30), [Ipv4Addr::new(10, 0, 0, 2)]);
        assert_eq!(walk([255, 255, 255, 254], 1).len(), MAX_SWEEP_ADDRESSES);
        assert_eq!(walk([1, 0, 0, 1], 0).len(), MAX_SWEEP_ADDRESSES);
    }
}
