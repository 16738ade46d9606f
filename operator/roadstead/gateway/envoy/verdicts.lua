-- Permissions that Envoy itself remembers, so that a warm request asks nobody: per worker thread, for the seconds that the authoriser
-- names, counted from the question, and never a refusal. The key is the endpoint and the caller's whole Authorization. A request that is
-- let through here bears the cluster's name in a header of its own, for which there is a route without the authoriser, and without this
-- script for the answer (resources.py); nobody outside can set it.
-- Each call into Envoy costs a microsecond or more, so there are as few as will do; what can be told by a route is told there.
local MOST = 10000
local LONGEST = 4096 -- bytes of an Authorization; longer ones are asked about each time, lest the table grow by hundreds of MB
local verdicts, count = {}, 0
local match, time = string.match, os.time

local function make_room()
  local now = time()
  for key, verdict in pairs(verdicts) do
    if verdict.ends <= now then
      verdicts[key] = nil
      count = count - 1
    end
  end
  if count >= MOST then -- all are in use: begin anew rather than grow
    verdicts, count = {}, 0
  end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local authorization = headers:get("authorization")
  if authorization == nil or #authorization > LONGEST then
    return
  end
  local endpoint = match(headers:get(":path"), "^/api/v2/endpoints/(%l+/%x+)%f[/?%z]")  -- %z: the end; Lua 5.1 takes "\0" for the pattern's own end
  if endpoint == nil then
    return
  end
  local key = endpoint .. " " .. authorization -- neither an id nor the beginning of an Authorization has a space
  local verdict = verdicts[key]
  if verdict ~= nil and time() < verdict.ends then
    headers:replace("x-roadstead-known", verdict.cluster)
    headers:replace("x-roadstead-user", verdict.user)
  else
    local metadata = handle:streamInfo():dynamicMetadata()
    metadata:set("roadstead", "key", key)
    metadata:set("roadstead", "asked", time())
  end
end

function envoy_on_response(handle)
  local metadata = handle:streamInfo():dynamicMetadata()
  local said = metadata:get("envoy.filters.http.ext_authz")
  if said == nil or said["x-roadstead-verdict-seconds"] == nil or said["x-roadstead-cluster"] == nil then
    return
  end
  local asked = metadata:get("roadstead")
  if asked == nil then
    return
  end
  -- From the question on, in whole seconds rounded down: never longer than was said, however late the service answers.
  local ends = asked["asked"] + math.floor(tonumber(said["x-roadstead-verdict-seconds"]))
  local key = asked["key"]
  local known = verdicts[key]
  if ends <= time() or (known ~= nil and known.ends > ends) then -- over, or older than what is known
    return
  end
  if known == nil and count >= MOST then
    make_room()
  end
  if known == nil then
    count = count + 1
  end
  verdicts[key] = { cluster = said["x-roadstead-cluster"], user = said["x-roadstead-user"] or "", ends = ends }
end
