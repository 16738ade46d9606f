-- Permissions that Envoy itself remembers, so that a warm request asks nobody: per worker thread, for the seconds that the authoriser
-- names, counted from the question, and never a refusal. They are found by the caller's whole Authorization and the endpoint. A request that
-- is let through here bears the cluster's name in a header of its own, for which there is a route without the authoriser, and without this
-- script for the answer (resources.py); nobody outside can set it. What goes before the service's own path is taken away here: a route's
-- pattern, and the copy that it leaves of the old path, cost more.
-- Each call into Envoy costs half a microsecond to two, and each new string some hundred nanoseconds: a warm request makes as few as will do.
local MOST = 10000
local LONGEST = 4096 -- bytes of an Authorization; longer ones are asked about each time, lest the table grow by hundreds of MB
local WORKLOAD = #"/api/v2/endpoints/workloads/" + 24 -- all ids are of one length
local DEPLOYMENT = #"/api/v2/endpoints/deployments/" + 24
local verdicts, count = {}, 0 -- by Authorization, then by the path's beginning
local byte, match, sub, time = string.byte, string.match, string.sub, os.time

local function make_room()
  local now = time()
  for authorization, endpoints in pairs(verdicts) do
    for endpoint, verdict in pairs(endpoints) do
      if verdict.ends <= now then
        endpoints[endpoint] = nil
        count = count - 1
      end
    end
    if next(endpoints) == nil then
      verdicts[authorization] = nil
    end
  end
  if count >= MOST then -- all are in use: begin anew rather than grow
    verdicts, count = {}, 0
  end
end

-- Whether the endpoint's part of the path ends there: by its end, a slash or a query.
local function ends_at(path, length)
  local beyond = byte(path, length + 1)
  return beyond == 47 or beyond == nil or beyond == 63
end

-- The path as the service sees it: what comes after the endpoint's part, always from a slash.
local function own_path(path, length)
  local own = sub(path, length + 1)
  if byte(own, 1) == 47 then
    return own
  end
  return "/" .. own
end

local function endpoint_of(path)
  local endpoint = match(path, "^/api/v2/endpoints/%l+/%x+")
  if endpoint ~= nil and (#endpoint == WORKLOAD or #endpoint == DEPLOYMENT) and ends_at(path, #endpoint) then
    return endpoint
  end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local authorization = headers:get("authorization")
  if authorization == nil then
    return
  end
  local path = headers:get(":path")
  if path == nil then -- CONNECT has none, and gets nothing
    return
  end
  local endpoints = verdicts[authorization]
  if endpoints ~= nil then
    local verdict = endpoints[sub(path, 1, WORKLOAD)] or endpoints[sub(path, 1, DEPLOYMENT)]
    if verdict ~= nil and time() < verdict.ends and ends_at(path, verdict.length) then
      headers:add("x-roadstead-known", verdict.cluster) -- there is none before: the listener takes away what clients send
      headers:add("x-roadstead-user", verdict.user)
      headers:add("x-forwarded-prefix", verdict.endpoint)
      headers:replace(":path", own_path(path, verdict.length))
      return
    end
  end
  local endpoint = endpoint_of(path)
  if endpoint ~= nil and #authorization <= LONGEST then
    local metadata = handle:streamInfo():dynamicMetadata()
    metadata:set("roadstead", "authorization", authorization)
    metadata:set("roadstead", "endpoint", endpoint)
    metadata:set("roadstead", "asked", time())
  end
end

function envoy_on_response(handle)
  local metadata = handle:streamInfo():dynamicMetadata()
  local said = metadata:get("envoy.filters.http.ext_authz")
  if said == nil or said["x-roadstead-verdict-seconds"] == nil or said["x-roadstead-cluster"] == nil then
    return
  end
  local question = metadata:get("roadstead")
  if question == nil then
    return
  end
  -- From the question on, in whole seconds rounded down: never longer than was said, however late the service answers.
  local ends = question["asked"] + math.floor(tonumber(said["x-roadstead-verdict-seconds"]))
  local authorization, endpoint = question["authorization"], question["endpoint"]
  local known = verdicts[authorization] ~= nil and verdicts[authorization][endpoint] or nil
  if ends <= time() or (known ~= nil and known.ends > ends) then -- over, or older than what is known
    return
  end
  if known == nil then
    if count >= MOST then
      make_room()
    end
    count = count + 1
  end
  if verdicts[authorization] == nil then
    verdicts[authorization] = {}
  end
  verdicts[authorization][endpoint] = {
    cluster = said["x-roadstead-cluster"],
    user = said["x-roadstead-user"] or "",
    ends = ends,
    endpoint = endpoint,
    length = #endpoint,
  }
end
