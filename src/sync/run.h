// The settings of a run: `run_setting(x)` is x natively, where a build has one architecture and one policy,
// and the current run's object of that type in the model.
#pragma once

#include "sync/sync.h"
