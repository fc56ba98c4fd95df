//! A singly linked list, by the book: std's has no way to insert in the middle, and none to say where its nodes lie in memory.
use crate::measure::order::Order;

/// Nodes on the heap, each with a key and a value; newest first.
#[derive(Debug, Default)]
pub struct List {
    head: Option<Box<Node>>,
}

#[derive(Debug)]
struct Node {
    key: u64,
    value: u64,
    next: Option<Box<Node>>,
}

impl List {
    /// The pairs in this order, the nodes allocated one after the other: neighbours in the list are neighbours in memory, as far as
    /// the allocator has it.
    pub fn in_order(pairs: &[(u64, u64)]) -> Self {
        let nodes: Vec<Box<Node>> = pairs.iter().map(|pair| Node::new(*pair)).collect();
        Self::link(nodes)
    }

    /// The pairs in this order, in nodes that were allocated in another: what a list looks like that has lived for a while.
    pub fn shuffled(pairs: &[(u64, u64)], dice: &mut Order) -> Self {
        let mut places: Vec<usize> = (0..pairs.len()).collect();
        dice.shuffle(&mut places);
        let mut nodes: Vec<Option<Box<Node>>> = pairs.iter().map(|_| None).collect();
        for place in places {
            nodes[place] = Some(Node::new(pairs[place]));
        }
        Self::link(nodes.into_iter().flatten().collect())
    }

    #[expect(
        clippy::vec_box,
        reason = "the nodes must keep their addresses; that they lie apart is the point of the list"
    )]
    fn link(nodes: Vec<Box<Node>>) -> Self {
        let mut head = None;
        for mut node in nodes.into_iter().rev() {
            node.next = head;
            head = Some(node);
        }
        Self { head }
    }

    /// Values in the order of the list.
    pub fn values(&self) -> impl Iterator<Item = u64> {
        let mut next = self.head.as_deref();
        std::iter::from_fn(move || {
            let node = next?;
            next = node.next.as_deref();
            Some(node.value)
        })
    }

    /// The value of a key.
    pub fn get(&self, key: u64) -> Option<u64> {
        let mut next = self.head.as_deref();
        while let Some(node) = next {
            if node.key == key {
                return Some(node.value);
            }
            next = node.next.as_deref();
        }
        None
    }

    /// Adds a pair at the front.
    pub fn push(&mut self, key: u64, value: u64) {
        let next = self.head.take();
        self.head = Some(Box::new(Node { key, value, next }));
    }

    /// Removes the first node with this key.
    pub fn remove(&mut self, key: u64) -> Option<u64> {
        let mut link = &mut self.head;
        while link.as_ref().is_some_and(|node| node.key != key) {
            link = &mut link.as_mut()?.next;
        }
        let node = *link.take()?;
        *link = node.next;
        Some(node.value)
    }
}

impl Node {
    fn new((key, value): (u64, u64)) -> Box<Self> {
        Box::new(Self { key, value, next: None })
    }
}

impl Drop for List {
    /// One node after the other: the drop that the compiler would write calls itself for each, and overflows the stack.
    fn drop(&mut self) {
        let mut next = self.head.take();
        while let Some(mut node) = next {
            next = node.next.take();
        }
    }
}
