/// The number of heap allocations that `work` makes on this thread.
pub fn allocations(work: impl FnOnce()) -> u64 {
    allocation_counter::measure(work).count_total
}
