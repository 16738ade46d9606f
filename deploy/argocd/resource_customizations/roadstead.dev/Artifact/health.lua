-- Health of a resource of roadstead.dev for Argo CD; one script for all kinds. `make generate` copies it to where Argo CD wants it.
-- Argo CD runs it in Lua 5.1 without the string library, and itself answers for objects that are being deleted.
local health = { status = "Progressing", message = "The operator has not looked at this version yet" }
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return health
end

local found = {}
for _, condition in ipairs(obj.status.conditions or {}) do
  found[condition.type] = condition
end
local function holds(kind)
  return found[kind] ~= nil and found[kind].status == "True"
end

if holds("Reconciling") then
  health.message = found.Reconciling.message
elseif holds("Stalled") then
  health.status = "Degraded"
  health.message = found.Stalled.message
elseif obj.status.state == "stopped" then
  health.status = "Suspended"
  health.message = obj.status.message or found.Progressing.message
elseif holds("Ready") then
  health.status = "Healthy"
  health.message = found.Ready.message
elseif found.Ready ~= nil then
  health.message = found.Ready.message
end
return health
