// RCU registration and grace periods.
#include "sync/native/rcu.h"

#include "sync/native/asymmetric.h"

namespace racewalk::inline native {

namespace {

/// Registers a thread for as long as it lives.
struct rcu_registration {
  rcu_registration() {
    require_heavy_barrier(); // liburcu's grace periods use it too, and readers rely on that
    urcu_memb_register_thread();
  }
  ~rcu_registration() {
    detail::rcu_registered = false;
    urcu_memb_unregister_thread();
  }
};

void run_callback(::rcu_head* urcu) {
  detail::rcu_edge();
  // urcu is the first member
  auto* head = reinterpret_cast<rcu_head*>(urcu);
  run_context = head->run_context;
  head->fn(head);
  run_context = nullptr;
  detail::rcu_edge();
}

#if RACEWALK_TSAN
extern "C" void AnnotateIgnoreWritesBegin(const char* file, int line);
extern "C" void AnnotateIgnoreWritesEnd(const char* file, int line);
#else
void AnnotateIgnoreWritesBegin(const char*, int) {}
void AnnotateIgnoreWritesEnd(const char*, int) {}
#endif

/// liburcu hands memory that it allocates here to its callback thread, in ways that ThreadSanitizer does not
/// see.
class liburcu_allocates {
 public:
  liburcu_allocates() { AnnotateIgnoreWritesBegin(__FILE__, __LINE__); }
  ~liburcu_allocates() { AnnotateIgnoreWritesEnd(__FILE__, __LINE__); }
  liburcu_allocates(const liburcu_allocates&) = delete;
  liburcu_allocates& operator=(const liburcu_allocates&) = delete;
};

} // namespace

void detail::rcu_register_this_thread() {
  thread_local rcu_registration registration;
  rcu_registered = true;
}

void synchronize_rcu(site) {
  VM_BUG_ON(rcu_read_lock_held(), "INV-LIVE", "synchronize_rcu() in a read-side section waits for itself");
  detail::rcu_edge();
  urcu_memb_synchronize_rcu();
  detail::rcu_edge();
}

void call_rcu(rcu_head* head, void (*fn)(rcu_head*), site) {
  head->fn = fn;
  head->run_context = run_context;
  detail::rcu_edge();
  if (!detail::rcu_registered) detail::rcu_register_this_thread(); // liburcu queues in a section of its own
  urcu_memb_call_rcu(&head->urcu, run_callback);
}

void rcu_barrier(site) {
  VM_BUG_ON(rcu_read_lock_held(), "INV-LIVE", "rcu_barrier() in a read-side section waits for itself");
  {
    liburcu_allocates here;
    urcu_memb_barrier();
  }
  detail::rcu_edge();
}

} // namespace racewalk::inline native
