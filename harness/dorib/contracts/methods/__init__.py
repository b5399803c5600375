"""What a plugin provides, a module a kind: mitigations, attacks, metrics, rules, probes."""

from dorib.contracts.methods.attack import Attack as Attack
from dorib.contracts.methods.attack import Knowledge as Knowledge
from dorib.contracts.methods.base import Method as Method
from dorib.contracts.methods.metric import CLIP_ALIGNMENT as CLIP_ALIGNMENT
from dorib.contracts.methods.metric import REPLICATES as REPLICATES
from dorib.contracts.methods.metric import RESERVED_QUANTITIES as RESERVED_QUANTITIES
from dorib.contracts.methods.metric import SECOND_REPLICATES as SECOND_REPLICATES
from dorib.contracts.methods.metric import Direction as Direction
from dorib.contracts.methods.metric import Level as Level
from dorib.contracts.methods.metric import Measured as Measured
from dorib.contracts.methods.metric import Metric as Metric
from dorib.contracts.methods.metric import Need as Need
from dorib.contracts.methods.metric import Quantity as Quantity
from dorib.contracts.methods.mitigation import Mitigation as Mitigation
from dorib.contracts.methods.planned import NO_WORK as NO_WORK
from dorib.contracts.methods.planned import PlannedFit as PlannedFit
from dorib.contracts.methods.planned import PlannedSearch as PlannedSearch
from dorib.contracts.methods.planned import PlannedWork as PlannedWork
from dorib.contracts.methods.planned import Scale as Scale
from dorib.contracts.methods.probe import Probe as Probe
from dorib.contracts.methods.rule import InFlight as InFlight
from dorib.contracts.methods.rule import Place as Place
from dorib.contracts.methods.rule import PromptRule as PromptRule
from dorib.contracts.methods.rule import Rule as Rule
from dorib.contracts.methods.rule import Step as Step
