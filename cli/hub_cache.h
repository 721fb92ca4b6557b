// SPDX-License-Identifier: Apache-2.0
// "org/model" → its snapshot directory in the Hugging Face cache of this user. Nothing is fetched.
#pragma once

#include <string>

#include "engine/text/diagnostics.h"

namespace ferrule::cli {

// The cache's folder: $HF_HUB_CACHE, else $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else
// ~/.cache/huggingface/hub (as huggingface_hub's documentation gives them).
std::string HubCache();

// Whether `name` is of the form org/model and no directory of that name exists.
bool IsModelId(const std::string& name);

// The snapshot that `revision` names (a branch or tag under refs/, or a commit; "main" when empty).
// Empty with a finding when the model or the revision is not in the cache.
std::string FindSnapshot(const std::string& model_id, const std::string& revision,
                         Diagnostics* out);

}  // namespace ferrule::cli
