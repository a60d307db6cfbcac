#include "mm/anon_vma.h"

#include <deque>
#include <mutex>
#include <new>

#include "mm/slab.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// Where anon_vmas come from and go to. Used while regions are made and unmade, which no explored path does.
class anon_vma_pool {
 public:
  anon_vma* alloc() {
    std::lock_guard guard(lock_);
    if (anon_vma* anon = free_) {
      free_ = anon->next_free;
      return anon;
    }
    try {
      return &all_.emplace_back();
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
  }
  void free(anon_vma& anon) {
    std::lock_guard guard(lock_);
    anon.next_free = free_;
    free_ = &anon;
  }

 private:
  std::mutex lock_;
  std::deque<anon_vma> all_;
  anon_vma* free_ = nullptr;
};

anon_vma_pool& pool() {
  static auto* the_pool = new anon_vma_pool; // outlives every thread that may still look at an anon_vma
  return *the_pool;
}

// The anon_vma's list. Caller holds its rwsem for writing.

void add_last(anon_vma_chain& chain, anon_vma& anon) {
  chain.turn = ++anon.last_turn;
  chain.prev = anon.last;
  chain.next = nullptr;
  (anon.last != nullptr ? anon.last->next : anon.first) = &chain;
  anon.last = &chain;
}

void take_out(anon_vma_chain& chain, anon_vma& anon) {
  (chain.prev != nullptr ? chain.prev->next : anon.first) = chain.next;
  (chain.next != nullptr ? chain.next->prev : anon.last) = chain.prev;
}

/// Adds the region to the end of the anon_vma's list. Caller holds its rwsem for writing.
void link(anon_vma_chain& chain, anon_vma& anon, mmap_region& region) {
  chain.anon = &anon;
  chain.region = &region;
  add_last(chain, anon);
  chain.next_of_region = region.chains;
  region.chains = &chain;
}

/// Returns whether nobody needs the anon_vma any more. Caller holds its rwsem for writing.
bool unlink(anon_vma_chain& chain) {
  anon_vma& anon = *chain.anon;
  take_out(chain, anon);
  if (chain.region->anon == &anon) --anon.owners;
  return anon.first == nullptr;
}

/// May another region have it for its own? If the regions that had are gone, and only one can map its folios:
/// else walks would come to visit more and more regions, and a line of forks would make its chains longer and
/// longer.
bool can_be_reused(const anon_vma& anon) { return anon.owners == 0 && anon.first == anon.last; }

} // namespace

bool anon_vma_prepare(mmap_region& region) {
  auto* chain = kmalloc_obj<anon_vma_chain>();
  anon_vma* anon = chain == nullptr ? nullptr : pool().alloc();
  if (anon == nullptr) {
    delete chain;
    return false;
  }
  write_guard guard(anon->rwsem); // a late walk may still be at what it was before
  link(*chain, *anon, region);
  region.anon = anon;
  anon->owners = 1;
  return true;
}

bool anon_vma_fork(mmap_region& child, const mmap_region& parent) {
  anon_vma* reused = nullptr;
  for (const anon_vma_chain* c = parent.chains; c != nullptr; c = c->next_of_region) {
    auto* chain = kmalloc_obj<anon_vma_chain>();
    if (chain == nullptr) return false;
    write_guard guard(c->anon->rwsem);
    if (reused == nullptr && can_be_reused(*c->anon)) reused = c->anon;
    link(*chain, *c->anon, child);
    if (reused == c->anon) reused->owners = 1;
  }
  if (reused == nullptr) return true;
  // the child's own has no folio yet
  anon_vma_chain** at = &child.chains;
  while ((*at)->anon != child.anon)
    at = &(*at)->next_of_region;
  anon_vma_chain* own = *at;
  *at = own->next_of_region;
  {
    write_guard guard(own->anon->rwsem);
    unlink(*own);
  }
  pool().free(*own->anon);
  delete own;
  child.anon = reused;
  return true;
}

namespace {

/// The region's link to the anon_vma, if it has one.
anon_vma_chain* link_to(const mmap_region& region, const anon_vma& anon) {
  anon_vma_chain* chain = region.chains;
  while (chain != nullptr && chain->anon != &anon)
    chain = chain->next_of_region;
  return chain;
}

} // namespace

bool anon_vma_clone(mmap_region& to, const mmap_region& from) {
  for (const anon_vma_chain* c = from.chains; c != nullptr; c = c->next_of_region) {
    anon_vma_chain* chain = link_to(to, *c->anon);
    if (chain != nullptr && (chain->turn > c->turn || !policy().mremap_links_after)) continue;
    if (chain == nullptr) {
      chain = kmalloc_obj<anon_vma_chain>();
      if (chain == nullptr) return false;
      write_guard guard(c->anon->rwsem);
      link(*chain, *c->anon, to);
    } else {
      // no walk is under way, that has passed the one and not the other
      write_guard guard(c->anon->rwsem);
      take_out(*chain, *c->anon);
      add_last(*chain, *c->anon);
    }
  }
  return true;
}

void unlink_anon_vmas(mmap_region& region) {
  while (anon_vma_chain* chain = region.chains) {
    region.chains = chain->next_of_region;
    bool unused;
    {
      write_guard guard(chain->anon->rwsem);
      unused = unlink(*chain);
    }
    if (unused) pool().free(*chain->anon);
    delete chain;
  }
  region.anon = nullptr;
}

} // namespace racewalk::inline RACEWALK_BACKEND
