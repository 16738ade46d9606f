-- Permission for each request to an endpoint: the authoriser is asked, which answers when a pod is there, and what it says is remembered, so
-- that a warm request asks nobody. The memory is each worker thread's own, for the seconds that the authoriser names, counted from the
-- question, and never of a refusal. Found by the caller's whole Authorization and the endpoint.
-- It is asked from here, since Envoy's own filter for that (ext_authz) costs a warm request that it lets through three microseconds.
-- Whatever fails here lets nobody in: where a request goes is said in a header, by the script alone (the listener takes away what clients
-- send), and without it there is no way to any pod (resources.py).
-- A request that is let through from memory bears the cluster's name in a header of its own, for which there is a route without this script
-- for the answer. What goes before the service's own path is taken away here: a route's pattern, and the copy that it leaves of the old
-- path, cost more.
-- Each call into Envoy costs half a microsecond to two, and each new string some hundred nanoseconds: a warm request makes as few as will do.
local MOST = 10000
local LONGEST = 4096 -- bytes of an Authorization; longer ones are asked about each time, lest the table grow by hundreds of MB
local WORKLOAD = #"/api/v2/endpoints/workloads/" + 24 -- all ids are of one length
local DEPLOYMENT = #"/api/v2/endpoints/deployments/" + 24
local LONGEST_LIFE = 3600 -- seconds; what is beyond (or no number) is no lifetime of the authoriser's
local PATIENCE = {timeout_ms = 86460000, send_xff = false} -- the limits of waiting, up to a day, are the authoriser's
local AWAY = "permission can't be asked for at the moment; try again"
local verdicts, count = {}, 0 -- by Authorization, then by the path's beginning
local byte, find, match, sub, time = string.byte, string.find, string.match, string.sub, os.time

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

-- Remember a verdict for some seconds from when it was asked for, both rounded down: never longer than was said.
local function keep(authorization, endpoint, asked, seconds, cluster, user)
  local ends = asked + seconds
  local known = verdicts[authorization] ~= nil and verdicts[authorization][endpoint] or nil
  local now = time()
  if ends <= now or (known ~= nil and known.ends > ends and known.asked <= now) then -- over, or older than what is known
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
  verdicts[authorization][endpoint] = {cluster = cluster, user = user, asked = asked, ends = ends, endpoint = endpoint, length = #endpoint}
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

-- Ask, for as long as it takes, and act upon the answer.
local function ask(handle, authorization, path, grpc)
  local asked = time()
  local said, body = handle:httpCall("authoriser", {
    [":method"] = "GET",
    [":path"] = path,
    [":authority"] = "authoriser",
    ["authorization"] = authorization,
    ["x-roadstead-grpc"] = grpc and "true" or nil,
    ["x-roadstead-client"] = match(handle:streamInfo():downstreamRemoteAddress(), "^%[?(.-)%]?:%d+$"),
    -- The process beside us may be starting anew: a sibling is asked as soon as its health checks have failed, within a second.
    ["x-envoy-retry-on"] = "connect-failure,reset,refused-stream",
    ["x-envoy-max-retries"] = "40", -- in all its life, some eight for a process that dies: it may outlive several
  }, nil, PATIENCE)
  local status, cluster = tonumber(said[":status"]) or 503, said["x-roadstead-cluster"]
  if status >= 500 and said["x-roadstead-said"] == nil or status < 400 and (status ~= 200 or cluster == nil) then
    local away = grpc and AWAY or '{"detail":"' .. AWAY .. '"}'
    handle:respond({[":status"] = "503", ["content-type"] = "application/json", ["retry-after"] = "1"}, away)
    return
  end
  if status ~= 200 then -- Envoy makes it one of gRPC's for a client of that
    handle:respond({
      [":status"] = said[":status"],
      ["content-type"] = said["content-type"],
      ["retry-after"] = said["retry-after"],
      ["www-authenticate"] = said["www-authenticate"],
    }, body)
    return
  end
  local user, headers = said["x-roadstead-user"] or "", handle:headers()
  local seconds, endpoint = tonumber(said["x-roadstead-verdict-seconds"]), endpoint_of(path)
  if seconds ~= nil and seconds > 0 and seconds < LONGEST_LIFE and endpoint ~= nil and authorization ~= nil and #authorization <= LONGEST then
    keep(authorization, endpoint, asked, math.floor(seconds), cluster, user)
  end
  if said["x-roadstead-cold-start"] ~= nil then
    handle:streamInfo():dynamicMetadata():set("roadstead", "cold_start", said["x-roadstead-cold-start"])
  end
  headers:add("x-roadstead-user", user)
  headers:add("x-roadstead-cluster", cluster)
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local path = headers:get(":path")
  if path == nil then -- CONNECT has none, and gets nothing
    return
  end
  local authorization = headers:get("authorization")
  local endpoints = verdicts[authorization or ""]
  if endpoints ~= nil then
    local verdict = endpoints[sub(path, 1, WORKLOAD)] or endpoints[sub(path, 1, DEPLOYMENT)]
    local now = time()
    -- Before it was asked for: the clock has been set back.
    if verdict ~= nil and now < verdict.ends and now >= verdict.asked and ends_at(path, verdict.length) then
      headers:add("x-roadstead-user", verdict.user)
      headers:add("x-forwarded-prefix", verdict.endpoint)
      headers:replace(":path", own_path(path, verdict.length))
      headers:add("x-roadstead-known", verdict.cluster) -- there is none before: the listener takes away what clients send
      return
    end
  end
  if find(path, "/api/v2/endpoints/workloads/", 1, true) == 1 or find(path, "/api/v2/endpoints/deployments/", 1, true) == 1 then
    -- As Envoy tells them: "application/grpc" or "application/grpc+…", not "application/grpc-web".
    local grpc = find((headers:get("content-type") or "") .. "+", "application/grpc+", 1, true) == 1
    ask(handle, authorization, path, grpc)
  end
end

function envoy_on_response(handle)
  local kept = handle:streamInfo():dynamicMetadata():get("roadstead")
  if kept ~= nil and kept["cold_start"] ~= nil then
    handle:headers():replace("x-roadstead-cold-start", kept["cold_start"])
  end
end
