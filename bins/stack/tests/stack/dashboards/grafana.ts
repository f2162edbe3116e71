// A dashboard as Grafana's own types have it, in the spelling of a JSON file: `tsc` refuses a field
// that they do not know, one that is missing, and a value that is not among those of its enum.
import type * as bargauge from '@grafana/grafana-foundation-sdk/bargauge';
import type * as dashboard from '@grafana/grafana-foundation-sdk/dashboard';
import type * as heatmap from '@grafana/grafana-foundation-sdk/heatmap';
import type * as prometheus from '@grafana/grafana-foundation-sdk/prometheus';
import type * as stat from '@grafana/grafana-foundation-sdk/stat';
import type * as timeseries from '@grafana/grafana-foundation-sdk/timeseries';

// Enums become the strings that they stand for; methods, which JSON has none of, fall away.
type Json<T> = 0 extends 1 & T
  ? any
  : T extends string
    ? `${T}`
    : T extends number | boolean | null | undefined
      ? T
      : T extends readonly (infer E)[]
        ? Json<E>[]
        : { [K in keyof T as T[K] extends Function ? never : K]: Json<T[K]> };

type Field = Json<dashboard.FieldConfig>;

type Panel<Type extends string, Options, Custom> = Omit<
  Json<dashboard.Panel>,
  'type' | 'options' | 'fieldConfig' | 'targets'
> & {
  type: Type;
  title: string;
  description: string;
  options: Json<Options>;
  targets: Json<prometheus.Dataquery>[];
  fieldConfig: {
    defaults: Omit<Field, 'custom'> & { custom?: Json<Custom> };
    overrides: Json<dashboard.FieldConfigSource>['overrides'];
  };
};

export type Dashboard = Omit<Json<dashboard.Dashboard>, 'panels'> & {
  panels: (
    | Json<dashboard.RowPanel>
    | Panel<'timeseries', timeseries.Options, timeseries.FieldConfig>
    | Panel<'stat', stat.Options, never>
    | Panel<'bargauge', bargauge.Options, never>
    | Panel<'heatmap', heatmap.Options, heatmap.FieldConfig>
  )[];
};
