// What the ranks write to each other.
//
// Rank 0 gives out the runs. A run is decided by a process of the rank that got it. A search that turns out
// to be long says that it is hungry; when there are no more runs to give out, the slots of other ranks help
// it. Rank 0 makes such a session known to the search's rank, that rank calls the helper's, and the bytes
// between the two processes travel as letters between their ranks.
#pragma once

#include <cstdint>

namespace racewalk::cli {

enum class mail : std::uint8_t {
  // to rank 0
  hello,    ///< host, pid, slots
  hungry,   ///< job: its search could be shared
  progress, ///< job, executions, depth
  done,     ///< job, whether there is a result, and it or what happened instead
  freed,    ///< a helper's slot, on the rank that is named
  // from rank 0
  welcome, ///< host, pid
  check,   ///< job
  share,   ///< job, session, rank of the helper
  stop,    ///< runs end soon
  lost,    ///< a rank
  quit,    ///< whether all ranks are there to take leave
  // between the two ends of a session
  call,   ///< job, session: help with it
  bytes,  ///< session, to which end, bytes
  closed, ///< session, which end is to close
  // between rank 0 and the others
  beat, ///< I am alive
};

/// Which end of a session.
enum class side : std::uint8_t { search, helper };

} // namespace racewalk::cli
