//! The thread that follows one network namespace: it hears events, lists what they are about, and does what it is told.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use raddle_plugin_api::namespace::{Namespace, NamespaceId};
use raddle_plugin_api::wire::IpPrefix;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::command::{Command, LinkChange, MirrorSpec, Role, Status};
use super::event::{Event, GROUPS, NEW_ROUTE, event};
use super::kernel::Kernel;
use super::rereading::Rereading;
use super::route::{Change, RouteReader};
use super::snapshot::Snapshot;
use super::socket::{NetlinkError, Received, Socket};
use crate::mirror::{Device, Devices, MirrorTable, Object, SharedTable};

/// Datagrams taken at a time, before what they say is passed on.
const BATCH: usize = 256;
/// Batches after which it is looked what else there is to be done, however many events there are.
const BATCHES: usize = 64;
/// Routes that are taken into the mirrors at a time, for which others wait.
const PIECE: usize = 512;
/// Pieces of a list after which the main thread is told, which works on them while more are read.
const PIECES_TOLD: usize = 8;

#[derive(Default)]
struct Shared {
    commands: Mutex<VecDeque<Command>>,
    snapshot: Mutex<Option<Arc<Snapshot>>>,
    status: Mutex<Status>,
}

/// A handle of the thread.
pub struct Monitor {
    shared: Arc<Shared>,
    wake: OwnedFd,
    thread: Option<JoinHandle<()>>,
    namespace: Option<NamespaceId>,
    /// Number of the last command.
    told: u64,
}

impl Monitor {
    /// Starts to follow a namespace. `tell` is called, on the thread, when there is something new.
    ///
    /// # Errors
    /// The namespace cannot be entered, or there is no socket or thread for us.
    pub fn start(namespace: Option<&str>, tell: impl Fn() + Send + 'static) -> Result<Self, NetlinkError> {
        let namespace = Namespace::named(namespace)?;
        let id = namespace.id();
        let (sleep, wake) =
            pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(NetlinkError::Socket)?;
        let follower = Follower::open(namespace, sleep)?;
        let shared = Arc::clone(&follower.shared);
        let thread = std::thread::Builder::new()
            .name("tuntap".to_owned())
            .spawn(move || follower.run(&tell))
            .map_err(|error| NetlinkError::Socket(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN)))?;
        Ok(Self { shared, wake, thread: Some(thread), namespace: id, told: 0 })
    }

    /// Tells it something; returns the number of the command, which a snapshot has when it was read behind it.
    pub fn tell(&mut self, command: Command) -> u64 {
        self.told += 1;
        lock(&self.shared.commands).push_back(command);
        // A full pipe wakes as well.
        let _ = rustix::io::write(&self.wake, &[0]);
        self.told
    }

    /// The namespace that it follows; `None`: raddle's own.
    pub fn namespace(&self) -> Option<NamespaceId> {
        self.namespace
    }

    /// What there was when it last looked.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        lock(&self.shared.snapshot).clone()
    }

    /// How it fares.
    pub fn status(&self) -> Status {
        lock(&self.shared.status).clone()
    }

    /// Whether it has ended by itself: its namespace is gone, or it failed.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.tell(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic over there has been printed, and is over.
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's own.
struct Follower {
    shared: Arc<Shared>,
    namespace: Namespace,
    events: Socket,
    reader: RouteReader,
    kernel: Kernel,
    sleep: OwnedFd,
    roles: BTreeMap<String, Role>,
    mirrors: Vec<MirrorSpec>,
    /// The kernel's numbers of the mirrors' tables, as they were when the routes were last read; `None`: the VRF is not there. Without
    /// any, events of routes are nobody's: these mirrors' were not read yet.
    tables: Vec<Option<u32>>,
    snapshot: Arc<Snapshot>,
    /// How often links were down, by the kernel's number.
    downs: HashMap<u32, u64>,
    /// How often events were lost, such as of links that were down.
    losses: u64,
    done: u64,
    rereading: Rereading,
}

/// What is to be done before the next sleep.
#[derive(Default)]
struct Agenda {
    list: bool,
    reread: bool,
    told: bool,
}

impl Follower {
    fn open(namespace: Namespace, sleep: OwnedFd) -> Result<Self, NetlinkError> {
        let (events, kernel) = (Socket::open(&namespace, GROUPS)?, Kernel::open(&namespace)?);
        Ok(Self {
            shared: Arc::default(),
            namespace,
            events,
            reader: RouteReader::default(),
            kernel,
            sleep,
            roles: BTreeMap::new(),
            mirrors: Vec::new(),
            tables: Vec::new(),
            snapshot: Arc::default(),
            downs: HashMap::new(),
            losses: 0,
            done: 0,
            rereading: Rereading::default(),
        })
    }

    fn run(mut self, tell: &impl Fn()) {
        let mut agenda = Agenda { list: true, reread: true, told: false };
        loop {
            if let Err(error) = self.work(&mut agenda, tell) {
                lock(&self.shared.status).fault = Some(error.to_string());
                // It is tried again, with the next event or after a while.
                self.rereading.ask_after_failure(Instant::now());
            }
            if std::mem::take(&mut agenda.told) {
                tell();
            }
            self.sleep();
            if self.obey(&mut agenda) {
                return;
            }
            self.listen(&mut agenda);
            if self.rereading.is_due(Instant::now()) {
                (agenda.reread, agenda.list) = (true, true);
            }
        }
    }

    fn sleep(&self) {
        let left = self.rereading.left(Instant::now()).and_then(|left| Timespec::try_from(left).ok());
        let mut fds = [
            PollFd::from_borrowed_fd(self.events.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.sleep.as_fd(), PollFlags::IN),
        ];
        // Woken for nothing is no harm.
        let _ = poll(&mut fds, left.as_ref());
    }

    /// Does what it was told; `true`: it is to end.
    fn obey(&mut self, agenda: &mut Agenda) -> bool {
        let mut bytes = [0; 64];
        while matches!(rustix::io::read(&self.sleep, &mut bytes), Ok(1..)) {}
        loop {
            let Some(command) = lock(&self.shared.commands).pop_front() else { return false };
            match command {
                Command::Stop => return true,
                Command::Resync => (agenda.reread, agenda.list) = (true, true),
                Command::Roles(roles) => {
                    self.roles = roles;
                    agenda.list = true;
                }
                Command::Mirrors(mirrors) => {
                    self.mirrors = mirrors;
                    self.tables.clear();
                    (agenda.reread, agenda.list) = (true, true);
                }
                Command::Change(change) => {
                    if let Err(error) = self.change(&change) {
                        lock(&self.shared.status).fault = Some(format!("{}: {error}", change.device));
                    }
                    agenda.list = true;
                }
            }
            self.done += 1;
        }
    }

    fn change(&mut self, change: &LinkChange) -> Result<(), NetlinkError> {
        let missing = NetlinkError::Refused { what: "change the host's side", source: Errno::NODEV };
        if !self.snapshot.links.contains_key(&change.device) {
            // It may be younger than the last list.
            self.snapshot = Arc::new(self.kernel.snapshot()?);
        }
        let index = self.snapshot.links.get(&change.device).map(|link| link.index).ok_or(missing)?;
        if change.bring_up {
            // A kernel without IPv6 has no such addresses.
            let _ = self.kernel.set_link(index, None, None, true);
        }
        if change.mac.is_some() || change.bring_up {
            self.kernel.set_link(index, change.mac, change.bring_up.then_some(true), false)?;
        }
        for &address in &change.remove {
            self.kernel.remove_address(index, address)?;
        }
        for &address in &change.add {
            self.kernel.add_address(index, address)?;
        }
        Ok(())
    }

    /// Takes the events that there are, or many of them.
    fn listen(&mut self, agenda: &mut Agenda) {
        for _ in 0..BATCHES {
            let mut events = Vec::new();
            let reader = &mut self.reader;
            match self.events.events(BATCH, |received| events.extend(event(received, reader))) {
                Ok(count) => {
                    self.hear(events, agenda);
                    if count < BATCH {
                        return;
                    }
                }
                Err(Errno::NOBUFS) => {
                    lock(&self.shared.status).overruns += 1;
                    self.losses += 1;
                    (agenda.reread, agenda.list, agenda.told) = (true, true, true);
                    // What is still in the socket is older than the lists to come, and goes with it.
                    match Socket::open(&self.namespace, GROUPS) {
                        Ok(events) => self.events = events,
                        Err(error) => lock(&self.shared.status).fault = Some(error.to_string()),
                    }
                    return;
                }
                Err(error) => {
                    lock(&self.shared.status).fault =
                        Some(format!("cannot hear the kernel's events: {error}"));
                    self.rereading.ask_after_failure(Instant::now());
                    return;
                }
            }
        }
    }

    fn hear(&mut self, events: Vec<Event>, agenda: &mut Agenda) {
        if events.is_empty() {
            return;
        }
        lock(&self.shared.status).events += events.len() as u64;
        let places = self.places();
        let mut routes: Vec<_> = self.mirrors.iter().map(|mirror| mirror.routes.lock()).collect();
        let mut users = vec![Vec::new(); routes.len()];
        for event in events {
            match event {
                Event::Listed { lost, down } => {
                    agenda.list = true;
                    down.into_iter().for_each(|link| *self.downs.entry(link).or_default() += 1);
                    if lost {
                        self.rereading.ask(Instant::now());
                    }
                }
                Event::Route(change, edit) => {
                    for &at in places.get(&change.table).into_iter().flatten() {
                        agenda.told = true;
                        if !routes[at].edit(change.prefix, change.route.clone(), edit) {
                            self.rereading.ask(Instant::now());
                        }
                    }
                }
                Event::Object(number, object) => {
                    agenda.told = true;
                    if object.is_none() {
                        self.rereading.ask(Instant::now());
                    }
                    for (users, routes) in users.iter_mut().zip(&mut routes) {
                        users.extend(routes.set_object(number, object.clone()));
                    }
                }
            }
        }
        drop(routes);
        for (mirror, users) in self.mirrors.iter().zip(users) {
            in_pieces(&mirror.routes, &users, MirrorTable::look_at);
        }
    }

    fn work(&mut self, agenda: &mut Agenda, tell: &impl Fn()) -> Result<(), NetlinkError> {
        if agenda.list {
            let mut snapshot = Snapshot { done: self.done, ..self.kernel.snapshot()? };
            agenda.list = false;
            for link in snapshot.links.values_mut() {
                link.downs = self.losses + self.downs.get(&link.index).copied().unwrap_or(0);
            }
            self.downs.retain(|index, _| snapshot.links.values().any(|link| link.index == *index));
            self.snapshot = Arc::new(snapshot);
            self.renew_devices();
            // A VRF came, went or has another table.
            agenda.reread |= self.tables_now() != self.tables;
            let mut shared = lock(&self.shared.snapshot);
            if shared.as_ref() != Some(&self.snapshot) {
                *shared = Some(Arc::clone(&self.snapshot));
                agenda.told = true;
            }
        }
        if agenda.reread {
            self.reread(tell)?;
            (agenda.reread, agenda.told) = (false, true);
            lock(&self.shared.status).fault = None;
        }
        Ok(())
    }

    /// Reads all routes, and has the mirrors take over what differs, while more are read.
    fn reread(&mut self, tell: &impl Fn()) -> Result<(), NetlinkError> {
        self.tables = self.tables_now();
        if self.mirrors.is_empty() {
            return Ok(());
        }
        let objects: HashMap<u32, Object> = self.kernel.objects()?;
        for MirrorSpec { routes, .. } in &self.mirrors {
            let users = routes.lock().replace_objects(&objects);
            in_pieces(routes, &users, MirrorTable::look_at);
        }
        let (places, mirrors) = (self.places(), &self.mirrors);
        for is_ip6 in [false, true] {
            let (mut pieces, reader) = (0, &mut self.reader);
            let begin = || {
                mirrors.iter().for_each(|mirror| mirror.routes.lock().begin_reading(is_ip6));
                Vec::with_capacity(PIECE)
            };
            let take = |piece: &mut Vec<Change>, received: Received<'_>| {
                let change = reader.read(received.payload).filter(|_| received.kind == NEW_ROUTE);
                piece.extend(change.filter(|change| places.contains_key(&change.table)));
                if piece.len() == PIECE {
                    take_in(mirrors, &places, piece);
                    pieces += 1;
                    if pieces % PIECES_TOLD == 0 {
                        tell();
                    }
                }
            };
            // Where all are of VRFs that are not there, there is nothing to be read.
            let mut rest =
                if places.is_empty() { begin() } else { self.kernel.routes(is_ip6, begin, take)? };
            take_in(mirrors, &places, &mut rest);
            for MirrorSpec { routes, .. } in mirrors {
                let gone = routes.lock().end_reading(is_ip6);
                in_pieces(routes, &gone, MirrorTable::forget);
            }
        }
        lock(&self.shared.status).resyncs += 1;
        Ok(())
    }

    /// The mirrors' places, by the kernel's table.
    fn places(&self) -> HashMap<u32, Vec<usize>> {
        let mut places: HashMap<u32, Vec<usize>> = HashMap::new();
        for (at, table) in self.tables.iter().enumerate() {
            // The table of a VRF that is not there has no routes.
            table.iter().for_each(|table| places.entry(*table).or_default().push(at));
        }
        places
    }

    fn tables_now(&self) -> Vec<Option<u32>> {
        self.mirrors.iter().map(|mirror| mirror.table.number(&self.snapshot)).collect()
    }

    /// Says to the mirrors which of the kernel's devices are ours.
    fn renew_devices(&self) {
        let device = |(name, role): (&String, &Role)| {
            let device = match role {
                Role::Interface(interface) => Device::Interface(*interface),
                Role::Tun => Device::Table,
            };
            Some((self.snapshot.links.get(name)?.index, device))
        };
        let devices: Devices = self.roles.iter().filter_map(device).collect();
        for mirror in &self.mirrors {
            let users = mirror.routes.lock().set_devices(&devices);
            in_pieces(&mirror.routes, &users, MirrorTable::look_at);
        }
    }
}

/// Works on many prefixes of a table, between which others have it.
fn in_pieces(table: &SharedTable, prefixes: &[IpPrefix], work: impl Fn(&mut MirrorTable, &[IpPrefix])) {
    for piece in prefixes.chunks(PIECE) {
        work(&mut table.lock(), piece);
        table.give_way();
    }
}

/// Takes a piece of a list into the mirrors of its tables.
fn take_in(mirrors: &[MirrorSpec], places: &HashMap<u32, Vec<usize>>, piece: &mut Vec<Change>) {
    let mut tables: Vec<_> = mirrors.iter().map(|mirror| mirror.routes.lock()).collect();
    for change in piece.drain(..) {
        for &at in places.get(&change.table).into_iter().flatten() {
            tables[at].read(change.prefix, change.route.clone());
        }
    }
    drop(tables);
    mirrors.iter().for_each(|mirror| mirror.routes.give_way());
}

#[cfg(test)]
mod tests {
    use raddle_plugin_api::wire::IpPrefix;

    use super::super::command::Table;
    use super::super::route::Edit;
    use super::*;
    use crate::mirror::{KernelRoute, KernelTarget};

    fn follower() -> Follower {
        let (sleep, _) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        Follower::open(Namespace::Own, sleep).unwrap()
    }

    fn mirror(number: u32) -> MirrorSpec {
        MirrorSpec { table: Table::Number(number), routes: Arc::default() }
    }

    fn route(table: u32) -> Event {
        let prefix: IpPrefix = "192.0.2.0/24".parse().unwrap();
        let target = Arc::new(KernelTarget::Blackhole);
        let route = KernelRoute { metric: 0, protocol: 12, variant: 0, target };
        Event::Route(Change { table, prefix, route }, Edit::Prepend)
    }

    fn known(mirror: &MirrorSpec) -> usize {
        mirror.routes.lock().standing().kernel
    }

    #[test]
    fn events_between_other_mirrors_and_their_reading_are_nobodys() {
        let (mut follower, mut agenda) = (follower(), Agenda::default());
        // Tables that nobody else uses, in whatever namespace this runs.
        let all = [mirror(0x7475_0001), mirror(0x7475_0002)];
        let tell = |follower: &Follower, mirrors: Vec<MirrorSpec>| {
            lock(&follower.shared.commands).push_back(Command::Mirrors(mirrors));
        };
        tell(&follower, all.to_vec());
        assert!(!follower.obey(&mut agenda));
        follower.work(&mut agenda, &|| {}).unwrap();
        follower.hear(vec![route(0x7475_0001)], &mut agenda);
        assert_eq!(all.each_ref().map(known), [1, 0]);
        tell(&follower, vec![all[1].clone()]);
        assert!(!follower.obey(&mut agenda));
        follower.hear(vec![route(0x7475_0001), route(0x7475_0002)], &mut agenda);
        assert_eq!(all.each_ref().map(known), [1, 0], "the list to come tells of them");
        follower.work(&mut agenda, &|| {}).unwrap();
        follower.hear(vec![route(0x7475_0002)], &mut agenda);
        assert_eq!(all.each_ref().map(known), [1, 1]);
    }
}
