// Where rank 0 prints when mpirun ends all ranks, because one has died or on Ctrl-C.
//
// mpirun then sends SIGTERM, sleeps for a second and sends SIGKILL, and meanwhile reads nothing of what ranks
// say: who says more than a terminal's buffer takes, as a table does, is stopped in the middle of it.
#pragma once

namespace racewalk::cli {

/// From now on this process prints to where mpirun itself prints, instead of to mpirun. Where that cannot be
/// (mpirun runs on another machine, or the system does not let one process have another's descriptors) it
/// prints as before.
void print_past_mpirun();

} // namespace racewalk::cli
